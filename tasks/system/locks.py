"""One heavy step at a time on a machine: what is measured while something else trains is not worth measuring.

A lock of the machine and not a limit of the orchestrator: other machines may go on, and a killed process lets go.
"""

import fcntl
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

log = logging.getLogger("slipway")


@contextmanager
def alone(home: Path, name: str, waits: str) -> Iterator[None]:
    """Hold the lock of a name under this SLIPWAY_HOME, when whoever holds it is done or dead; `waits` is said when that takes a while."""
    (home / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(home / "locks" / f"{name}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.warning(waits)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def at_work(home: Path, name: str) -> Iterator[None]:
    """Beside others that work on the same, and while nobody tidies up after them."""
    with _file(home, name) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def nobody_at_work(home: Path, name: str) -> Iterator[bool]:
    """Whether nobody is; nobody begins meanwhile."""
    with _file(home, name) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _file(home: Path, name: str) -> IO[bytes]:
    """Closing it lets go, and so does the kernel for a process that dies."""
    (home / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
    return (home / "locks" / f"work-{name}.lock").open("ab")


@contextmanager
def exclusive(home: Path, what: str) -> Iterator[None]:
    """Wait until no other training or measuring runs here under this SLIPWAY_HOME, which machines may share; says so."""
    waits = f"{what} waits: another run is training or measuring on this machine"
    with alone(home, f"machine-{platform.node()}", waits):
        yield
