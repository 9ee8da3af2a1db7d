"""The tables of a library's SQLite database, from a script beside our code: its migrations make the same in seconds of work.

`python tests/house/table_scripts.py` writes the scripts anew, for another release of the library.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from tasks.system.files import sync_folder


def make_tables(path: Path, script: Path, migrate: Callable[[Path], None] | None = None) -> None:
    """Make the database `path` where there is none: under another name, and then with its own. Of two that begin at once one does.

    The script's first line says for which release it is; with another one `migrate` makes the tables, or whoever opens them.
    """
    if is_there(path):
        return
    text = script.read_text("utf-8")
    library, release = text.partition("\n")[0].removeprefix("-- ").split()
    fits = version(library) == release
    if not (fits or migrate):
        return
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if is_there(path):
            return
        new = path.with_name(f".{path.name}.new")
        for left in (new, new.with_name(f"{new.name}-journal")):
            left.unlink(missing_ok=True)
        if fits:
            with closing(sqlite3.connect(new)) as database:
                database.executescript(text)
        elif migrate is not None:
            migrate(new)
        new.rename(path)
        sync_folder(path.parent)


def is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
