"""Files that are either whole or not there: temporary name, fsync, rename; and their digests."""

import errno
import glob
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import Timeout

from tasks.errors import LostError, StepError
from tasks.system.processes import is_running, started

_FULL = {errno.ENOSPC, errno.EDQUOT}

_TROUBLE = {*_FULL, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_SAYS_FULL = ("database or disk is full", "no space left on device")

NO_MEMORY = (
    "There is not enough memory: end what else runs, lift the limit if there is one (ulimit -v), "
    "or give fewer rows or a smaller batch_size."
)

_SHORT = (
    "bad_alloc",
    "bad allocation",
    "allocate memory",
    "unable to allocate",
    "out of memory",
    "memoryerror",
    "failed to map segment",
    "can't start new thread",
    "error return without exception",  # what C extensions end in when there is none
)


def why_not_written(what: str, folder: Path, needed: int, error: OSError) -> str:
    """One sentence: on a full disk with the bytes that `what` needs and the bytes that are free."""
    if error.errno not in _FULL:
        return f"{what} cannot be written in {folder}: {error.strerror or error}."
    free = shutil.disk_usage(folder).free
    return f"No space for {what} in {folder}: at least {needed:,} bytes are needed and {free:,} are free; free some and run again."


def is_the_machines(error: BaseException | None) -> bool:
    """Whether the same work may well succeed when the machine has room again, or another process is done with its lock.

    Errors that were raised from others are what those are; libraries of C++ say in words that there is no memory. What a
    library makes of Ctrl-C is none of the model's either: torch, interrupted amid its imports, lacks an attribute.
    """
    return _was_interrupted(error) or _lacks_something(error)


def _lacks_something(error: BaseException | None) -> bool:
    return disk_is_full(error) or any(
        isinstance(each, MemoryError | Timeout | LostError)
        or short_of_memory(str(each))
        or (isinstance(each, OSError) and each.errno in _TROUBLE)
        for each in _causes(error)
    )


def disk_is_full(error: BaseException | None) -> bool:
    """Whether it, or what it was raised from, says so: Python by number, SQLite and PostgreSQL in words."""
    return any(
        (isinstance(each, OSError) and each.errno in _FULL)
        or any(words in str(each).lower() for words in _SAYS_FULL)
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _was_interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def short_of_memory(text: str) -> bool:
    """Whether a message of ONNX Runtime, torch, NumPy or Python is about memory that was not to be had."""
    return any(words in text.lower() for words in _SHORT)


def why_it_broke(error: BaseException) -> StepError | None:
    """What the machine lacks, as one sentence; None for an error that is not the machine's, and for Ctrl-C."""
    if not _lacks_something(error):
        return None
    full, causes = disk_is_full(error), [*_causes(error)]
    error = next((each for each in causes if isinstance(each, LostError | OSError | MemoryError)), causes[-1])
    if isinstance(error, LostError):
        return error
    text = " ".join(str(error).split())[:200]
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return StepError(f"Too many files are open ({text}): raise the limit (ulimit -n) and run again.")
    if full:
        return StepError(f"No space is left on the disk ({text}): free some and run again.")
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.EROFS):
        return StepError(f"The disk fails ({text}): see what the system's log says of it.")
    if isinstance(error, Timeout):
        return StepError(f"Another process holds what this one needs ({text}): wait for it, or end it.")
    return StepError(NO_MEMORY if not text else NO_MEMORY.replace(":", f" ({text}):", 1))


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Put `content` (bytes, or a function that writes them) at `path`, so that a crash leaves the old file or the new one.

    What a killed process left of the same file goes. Raises OSError, with the temporary file removed, when the disk is full or the
    folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_before(path)}{_own()}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def own_folder(parent: Path, name: str) -> Path:
    """A folder in `parent` that is this process's own for a while, 0700; what a killed one leaves of it is `left_by_writers`."""
    return Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.{_machine()}-{_own()}.", suffix=".tmp"))


def left_by_writers(folder: Path) -> Iterator[Path]:
    """Temporary files and folders anywhere below `folder` of processes of this machine that are there no more: by a name that nobody may write again."""
    for root, folders, files in os.walk(folder):  # which minds nothing that goes meanwhile
        for name in (*folders, *files):
            if name.startswith(".") and name.endswith(".tmp") and _is_left(Path(name)):
                yield Path(root, name)


def _before(path: Path) -> str:
    """What temporary files of `path` begin with, before the number of their process: machines may share a folder."""
    return f".{path.name}.{_machine()}-"


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _own() -> str:
    """A container that starts again has the same name and the same numbers: when it was started tells its processes from those before."""
    return f"{os.getpid()}-{started(os.getpid())}"


def _remove_left(path: Path) -> None:
    for left in path.parent.glob(f"{glob.escape(_before(path))}*.tmp"):
        if _is_left(left):
            left.unlink(missing_ok=True)


def _is_left(temporary: Path) -> bool:
    owner = temporary.name.rpartition(f".{_machine()}-")[2].partition(".")[0]
    number, _, since = owner.partition("-")
    if not number.isdecimal():
        return False
    return not is_running(int(number)) or (since.isdecimal() and 0 < started(int(number)) != int(since))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: after a rename, the directory has to reach the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes as 64 hex digits, read in pieces so that a large file costs no memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
