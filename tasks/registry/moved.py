"""A home that was copied or moved: MLflow's database in it names files by their whole address, and they are here now.

Without this a copy would read the files of the original, and write to them.
"""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tasks.registry.reachability import explain_database

_ARTIFACTS = "mlartifacts"

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

_BUSY_SECONDS = 20.0

log = logging.getLogger("slipway")


def lead_home(uri: str) -> None:
    """Let the addresses in a home's own database lead into that home, in one transaction; nothing where they do.

    Only files that lie beside the database count, so that one which several homes share, or whose files are elsewhere, stays as it is.
    Raises StepError when the database cannot be written.
    """
    if not uri.startswith("sqlite:///") or not (path := Path(uri.removeprefix("sqlite:///"))).is_file():
        return
    home = path.absolute().parent
    try:
        with closing(_open(path)) as database:
            for elsewhere in _other_homes(database, home):
                _move(database, elsewhere, home)
    except sqlite3.DatabaseError as error:
        if str(error).startswith("no such"):
            return  # tables are made, or brought up to date, when MLflow opens it
        raise explain_database(uri, error) from error


def _open(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _other_homes(database: sqlite3.Connection, home: Path) -> Iterator[Path]:
    """The homes that experiments were made in, of those whose files have come along."""
    homes = set()
    for name, address in database.execute("SELECT name, artifact_location FROM experiments").fetchall():
        folder = Path(unquote(urlsplit(address or "").path))
        tail = Path(_ARTIFACTS, name)
        if (address or "").startswith("file:///") and folder.parts[-len(tail.parts) :] == tail.parts:
            homes.add(Path(*folder.parts[: -len(tail.parts)]))
    for other in sorted(homes - {home}):
        with suppress(OSError):
            if other.samefile(home):
                continue  # the same by another name
        if (home / _ARTIFACTS).is_dir():
            yield other


def _move(database: sqlite3.Connection, old: Path, new: Path) -> None:
    before, after = f"{old.as_uri()}/", f"{new.as_uri()}/"
    database.execute("BEGIN IMMEDIATE")
    with database:
        for table, column in _ADDRESSES:
            if column in _columns(database, table):
                change = (
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                )
                database.execute(change, (after, len(before) + 1, len(before), before))
        if "dataset_source" in _columns(database, "datasets"):
            words = [json.dumps({"uri": uri})[:-2] for uri in (before, after)]
            database.execute("UPDATE datasets SET dataset_source = replace(dataset_source, ?, ?)", words)
    log.warning("What %s says lies in %s is looked for in %s, where it is now", "mlflow.db", old, new)


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
