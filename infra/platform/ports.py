"""Which ports the platform uses: the usual ones, or free ones that are remembered, so that bookmarks stay right."""

import contextlib
import json
import socket
from itertools import chain
from pathlib import Path

from tasks.errors import StepError
from tasks.system.files import write_atomically

USUAL = {"prefect": 4200, "worker": 4201, "mlflow": 5000, "server": 8080}

_STEP, _TRIES = 10, 200


def choose_ports(home: Path) -> dict[str, int]:
    """A free port for each service: last time's, else the usual one, else the next tenth; kept in `home`/ports.json.

    All below the range from which systems take ports for outgoing connections: none is gone before it is used.
    """
    path = home / "ports.json"
    last: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    chosen = {name: _free(last.get(name, usual), usual) for name, usual in USUAL.items()}
    if chosen != last:
        write_atomically(path, json.dumps(chosen).encode())
    return chosen


def _free(last: int, usual: int) -> int:
    for port in chain((last,), range(usual, usual + _STEP * _TRIES, _STEP)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise StepError(f"Port {usual} on 127.0.0.1 is taken, and so are {_TRIES} others after it.")
