"""Which ports the platform uses: the usual ones, or free ones that are remembered, so that bookmarks stay right."""

import contextlib
import json
import socket
from pathlib import Path

from tasks.errors import StepError
from tasks.files import write_atomically

USUAL = {"prefect": 4200, "mlflow": 5000, "server": 8080, "worker": 4201}


def choose_ports(home: Path) -> dict[str, int]:
    """A free port for each service: the one of last time, else the usual one, else any; kept in `home`/ports.json."""
    path = home / "ports.json"
    known: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    chosen: dict[str, int] = {}
    for name, usual in USUAL.items():
        chosen[name] = _free((known.get(name, usual), usual, 0), taken=set(chosen.values()))
    if chosen != known:
        write_atomically(path, json.dumps(chosen).encode())
    return chosen


def _free(wanted: tuple[int, ...], taken: set[int]) -> int:
    for port in wanted:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found = int(probe.getsockname()[1])
            if found not in taken:
                return found
    raise StepError(f"None of the ports {wanted} on 127.0.0.1 is free.")
