"""Folders for a while, named by the process they are of: what a killed one left goes when the next is made."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.system.processes import is_running

_OURS = f"slipway-{platform.node()}-"
"""Containers may share a folder for temporary files, and have processes of the same numbers."""


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder of this process's own, 0700, gone on leaving."""
    remove_left()
    with tempfile.TemporaryDirectory(
        prefix=f"{_OURS}{os.getpid()}-{name}-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def remove_left() -> None:
    """Remove the folders of processes of this user that are not there any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_OURS}*"):
        number = folder.name.removeprefix(_OURS).partition("-")[0]
        if number.isdecimal() and not is_running(int(number)):
            with suppress(OSError):
                if folder.lstat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
