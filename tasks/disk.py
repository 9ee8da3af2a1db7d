"""What to tell a user whose disk did not take a file, and which errors go away with the machine's trouble."""

import errno
import shutil
from pathlib import Path

_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def why_not_written(what: str, folder: Path, needed: int, error: OSError) -> str:
    """One sentence: on a full disk with the bytes that `what` needs and the bytes that are free."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"{what} cannot be written in {folder}: {error.strerror or error}."
    free = shutil.disk_usage(folder).free
    return f"No space for {what} in {folder}: at least {needed:,} bytes are needed and {free:,} are free; free some and run again."


def is_the_machines(error: BaseException | None) -> bool:
    """Whether the same work may well succeed when the machine has room again, or another process is done with its lock."""
    from filelock import Timeout

    return isinstance(error, MemoryError | Timeout) or (
        isinstance(error, OSError) and error.errno in _TROUBLE
    )
