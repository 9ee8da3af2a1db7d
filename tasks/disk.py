"""What to tell a user whose disk did not take a file."""

import errno
import shutil
from pathlib import Path


def why_not_written(what: str, folder: Path, needed: int, error: OSError) -> str:
    """One sentence: on a full disk with the bytes that `what` needs and the bytes that are free."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"{what} cannot be written in {folder}: {error.strerror or error}."
    free = shutil.disk_usage(folder).free
    return f"No space for {what} in {folder}: at least {needed:,} bytes are needed and {free:,} are free; free some and run again."
