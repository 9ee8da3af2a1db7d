"""A home's own MLflow database, read by SQL: importing MLflow's client and its store costs seconds, and what it then reads milliseconds.

The methods have the names, arguments and results of `mlflow.MlflowClient`; whatever writes, and whatever is not here, is MLflow's own.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tasks.registry.http import MlflowError
from tasks.registry.reachability import explain_database
from tasks.registry.rest import Entity, Page
from tasks.registry.tables import SCRIPT, database_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BUSY_SECONDS = 20.0

_MODEL = "workspace = 'default' AND name = ?"

_VERSION = f"{_MODEL} AND version = ? AND current_stage != 'Deleted_Internal'"

_VERSIONS = re.compile(r"name = '([^']+)'(?: AND tags\.`([^`']+)` = '([^']*)')?")
"""What is searched for by us."""

_REVISION = re.compile(r"INSERT INTO \"alembic_version\" VALUES\('(\w+)'\)")


@dataclass(frozen=True)
class LocalClient:
    """A SQLite database with the tables that we know; every answer is of one moment, and no lock is held in between."""

    tracking_uri: str
    open_own: Callable[[], "MlflowClient"]

    @cached_property
    def own(self) -> "MlflowClient":
        """MLflow's, made where it is needed."""
        return self.open_own()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.own, name)

    def get_registered_model(self, name: str) -> Entity:
        with self._reading() as database:
            return _model(database, name)

    def search_registered_models(self, max_results: int = 100, page_token: str | None = None) -> Page:
        """All of them, on one page."""
        with self._reading() as database:
            names = database.execute(
                "SELECT name FROM registered_models WHERE workspace = 'default' ORDER BY name"
            )
            return Page([_model(database, name) for (name,) in names.fetchall()])

    def get_model_version(self, name: str, version: str) -> Entity:
        with self._reading() as database:
            return _version(database, name, version)

    def get_model_version_by_alias(self, name: str, alias: str) -> Entity:
        if alias.lower() == "latest":  # which MLflow makes up
            return self.own.get_model_version_by_alias(name, alias)  # type: ignore[return-value]
        with self._reading() as database:
            _model(database, name)
            query = f"SELECT version FROM registered_model_aliases WHERE {_MODEL} AND alias = ?"
            if (row := database.execute(query, (name, alias)).fetchone()) is None:
                raise MlflowError(f"Registered model alias {alias} not found.", "INVALID_PARAMETER_VALUE")
            return _version(database, name, row[0])

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        with self._reading() as database:
            return str(_version(database, name, version).location)

    def search_model_versions(self, filter_string: str) -> Page:
        """All that match, the newest first."""
        if (asked := _VERSIONS.fullmatch(filter_string)) is None:
            return self.own.search_model_versions(filter_string)  # type: ignore[return-value]
        name, tag, value = asked.groups()
        query = f"SELECT version FROM model_versions WHERE {_MODEL} AND current_stage != 'Deleted_Internal'"
        tagged = f" AND version IN (SELECT version FROM model_version_tags WHERE {_MODEL} AND key = ? AND value = ?)"
        with self._reading() as database:
            rows = (
                database.execute(query + tagged, (name, name, tag, value))
                if tag
                else database.execute(query, (name,))
            )
            numbers = sorted((row[0] for row in rows), reverse=True)
            return Page([_version(database, name, number) for number in numbers])

    def get_experiment_by_name(self, name: str) -> Entity | None:
        with self._reading() as database:
            query = (
                f"SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE {_MODEL}"
            )
            if (row := database.execute(query, (name,)).fetchone()) is None:
                return None
            tags = database.execute("SELECT key, value FROM experiment_tags WHERE experiment_id = ?", row[:1])
            return Entity(
                {
                    "experiment_id": str(row[0]),
                    "name": name,
                    "artifact_location": row[1],
                    "lifecycle_stage": row[2],
                    "tags": _pairs(tags),
                }
            )

    def get_run(self, run_id: str) -> Entity:
        with self._reading() as database:
            if not (runs := _runs(database, "run_uuid = ?", run_id)):
                raise MlflowError(f"Run with id={run_id} not found", "RESOURCE_DOES_NOT_EXIST")
            return runs[0]

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        *,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page:
        """Of one experiment all that are not deleted, on one page; what is filtered is MLflow's own to find."""
        if filter_string or len(experiment_ids) != 1:
            return self.own.search_runs(  # type: ignore[return-value]
                [*experiment_ids], filter_string, max_results=max_results, page_token=page_token
            )
        with self._reading() as database:
            active = "experiment_id = ? AND lifecycle_stage = 'active'"
            return Page(_runs(database, active, experiment_ids[0]))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one answer, all of which is of one moment."""
        try:
            with closing(_open(self.tracking_uri)) as database:
                database.execute("BEGIN")
                yield database
        except sqlite3.DatabaseError as error:
            raise explain_database(self.tracking_uri, error) from error


def is_known(uri: str) -> bool:
    """Whether a database is SQLite's, here, and has the tables that this module reads."""
    if database_of(uri) is None:
        return False
    try:
        with closing(_open(uri)) as database:
            return database.execute("SELECT version_num FROM alembic_version").fetchall() == [(_revision(),)]
    except sqlite3.Error:  # MLflow's own client says what is wrong with it
        return False


@cache
def _revision() -> str:
    """The last change of MLflow's tables that we know."""
    match = _REVISION.search(SCRIPT.read_text("utf-8"))
    assert match is not None
    return match[1]


def _open(uri: str) -> sqlite3.Connection:
    path = database_of(uri)
    assert path is not None
    address = (
        f"file:{quote(str(path.absolute()))}?mode=rw"  # what a writer that was killed has left is put right
    )
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _model(database: sqlite3.Connection, name: str) -> Entity:
    query = f"SELECT description, creation_time FROM registered_models WHERE {_MODEL}"
    if (row := database.execute(query, (name,)).fetchone()) is None:
        raise MlflowError(f"Registered Model with name={name} not found", "RESOURCE_DOES_NOT_EXIST")
    tags = database.execute(f"SELECT key, value FROM registered_model_tags WHERE {_MODEL}", (name,))
    aliases = database.execute(f"SELECT alias, version FROM registered_model_aliases WHERE {_MODEL}", (name,))
    return Entity(
        {
            "name": name,
            "description": row[0],
            "creation_timestamp": row[1],
            "tags": _pairs(tags),
            "aliases": [{"alias": alias, "version": version} for alias, version in aliases],
        }
    )


def _version(database: sqlite3.Connection, name: str, version: str | int) -> Entity:
    query = f"SELECT creation_time, description, run_id, source, status, coalesce(nullif(storage_location, ''), source) FROM model_versions WHERE {_VERSION}"
    if (row := database.execute(query, (name, int(version))).fetchone()) is None:
        raise MlflowError(
            f"Model Version (name={name}, version={version}) not found", "RESOURCE_DOES_NOT_EXIST"
        )
    of_it = (name, int(version))
    tags = database.execute(
        f"SELECT key, value FROM model_version_tags WHERE {_MODEL} AND version = ?", of_it
    )
    return Entity(
        {
            "name": name,
            "version": int(version),
            "creation_timestamp": row[0],
            "description": row[1],
            "run_id": row[2],
            "source": row[3],
            "status": row[4],
            "location": row[5],
            "tags": _pairs(tags),
        }
    )


def _runs(database: sqlite3.Connection, which: str, value: str) -> list[Entity]:
    query = f"SELECT run_uuid, experiment_id, name, status, lifecycle_stage, start_time FROM runs WHERE {which} ORDER BY start_time DESC, run_uuid"
    rows = database.execute(query, (value,)).fetchall()
    within = (
        f"SELECT run_uuid, key, value FROM %s WHERE run_uuid IN (SELECT run_uuid FROM runs WHERE {which})"
    )
    data: dict[str, dict[str, list[dict[str, str]]]] = {row[0]: {"tags": [], "params": []} for row in rows}
    for what in ("tags", "params"):
        for run_id, key, text in database.execute(within % what, (value,)):
            data[run_id][what].append({"key": key, "value": text})
    names = ("run_id", "experiment_id", "run_name", "status", "lifecycle_stage", "start_time")
    return [Entity({"info": dict(zip(names, row, strict=True)), "data": data[row[0]]}) for row in rows]


def _pairs(rows: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in rows]
