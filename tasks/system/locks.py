"""One heavy step at a time on a machine: what is measured while something else trains is not worth measuring.

A lock of the machine and not a limit of the orchestrator: other machines may go on, and a killed process lets go.
"""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger("slipway")


@contextmanager
def exclusive(home: Path, what: str) -> Iterator[None]:
    """Wait until no other training or measuring runs here under this SLIPWAY_HOME, which machines may share; says so."""
    (home / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(home / "locks" / f"machine-{platform.node()}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.warning("%s waits: another run is training or measuring on this machine", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
