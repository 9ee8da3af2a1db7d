"""What `slipway up` writes down about itself, and whether that is still true."""

import contextlib
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import ValidationError

from tasks.errors import UserError
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen


class Process(Frozen):
    """A part of the platform."""

    name: str
    pid: int
    since: datetime
    restarts: int
    url: str


class Running(Process):
    """A process that is kept running."""

    health: str


class State(Frozen):
    """A platform that is up; `created` tells its process from a later one with the same number, `home` from that of a copy."""

    home: Path | None = None
    pid: int
    created: float
    services: tuple[Running, ...]


def write_state(home: Path, state: State | None) -> None:
    """`None`: it is not up any more."""
    path = home / "up.json"
    if state is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, state.model_dump_json(indent=1).encode())


def read_state(home: Path) -> State | None:
    """What is up; None when nothing is, also when `slipway up` was killed and could not say so. Raises UserError for what another version wrote."""
    path = home / "up.json"
    if not path.is_file():
        return None
    try:
        state = State.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{path} is not of this version of Slipway: end that `slipway up`, or delete the file where nothing is up."
        ) from error
    if state.home is not None and state.home.resolve() != home.resolve():
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        if abs(psutil.Process(state.pid).create_time() - state.created) < 60:
            return state
    return None
