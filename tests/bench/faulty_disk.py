"""Faults at the calls by which a process changes files, whoever makes them: faulty_disk.c compiled, loaded and armed."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

SOURCE = Path(__file__).with_suffix(".c")

Way = Literal["count", "kill", "tear", "fail", "full"]

_WAYS: dict[Way, int] = {"count": 0, "kill": 1, "tear": 2, "fail": 3, "full": 4}


class Fault(NamedTuple):
    """What happens at the call number `at`, from 0: the process is killed before it, or within a write; or it fails; or it and all later ones.

    Counted are calls `like` this, as they stand in the log: "rename /work/dots/keys/".
    """

    way: Way = "count"
    at: int = -1
    error: int = 0
    like: str = ""


NOTHING = Fault()


def library() -> Path:
    """The compiled library, made once for a source. Raises FileNotFoundError without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("There is no C compiler (cc): install gcc.")
    path = (
        Path(tempfile.gettempdir())
        / f"slipway-{os.getuid()}-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    )
    if not path.exists():
        own = path.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", own, SOURCE, "-ldl"], check=True)
        own.rename(path)
    return path


def preloaded() -> dict[str, str]:
    """The environment of a process that may be armed."""
    return {**os.environ, "LD_PRELOAD": str(library())}


def arm(folder: Path, fault: Fault, log: Path | None = None) -> None:
    """From now on in this process, for what is below `folder`; each call is a line of `log`. It must have begun `preloaded`."""
    here = ctypes.CDLL(None)
    handle = -1 if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    text, number = ctypes.c_char_p, ctypes.c_int
    here.faulty_disk_arm.argtypes = (text, number, ctypes.c_long, number, number, text)
    here.faulty_disk_arm(
        os.fsencode(folder), _WAYS[fault.way], fault.at, fault.error, handle, fault.like.encode()
    )


def calls() -> int:
    """How many there were so far."""
    here = ctypes.CDLL(None)
    here.faulty_disk_calls.restype = ctypes.c_long
    return int(here.faulty_disk_calls())
