"""Whether MLflow is where settings say and lets us in: asked before MLflow's own client does, whose retries take minutes."""

import os
import socket
import time
from urllib.parse import urlsplit

from tasks.errors import StepError, UserError
from tasks.registry.http import MlflowError, MlflowServer, needs_mlflow
from tasks.system.files import why_it_broke
from tasks.system.sentences import typed_line
from tasks.system.urls import without_secrets

_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "mysql", "file")

_DAMAGED = ("malformed", "not a database", "disk image", "file is encrypted")
"""What SQLite says of a file that is not what it wrote."""

_HALF_MADE = (") table ", ") index ", ") duplicate column name")
"""What SQLite says when tables are made that are there already: `(sqlite3.OperationalError) table datasets already exists`."""

_PAUSE_SECONDS = 1.0

_TIMEOUT_SECONDS = 10


def check_mlflow(uri: str, patience: float = 0.0) -> None:
    """Return when MLflow answers at `uri`, within `patience` seconds. Raises UserError or MlflowError in a sentence if not."""
    switch_telemetry_off()
    scheme = urlsplit(uri).scheme
    if scheme not in ("http", "https", *_DATABASES):
        raise UserError(
            f"MLFLOW_TRACKING_URI={without_secrets(uri)} is not an address: use http://host:port or sqlite:///path."
        )
    end = time.monotonic() + patience
    while True:
        try:
            return _ask(uri) if scheme in ("http", "https") else _knock(uri)
        except MlflowError as error:
            if not error.may_pass or time.monotonic() >= end:
                raise
        time.sleep(_PAUSE_SECONDS)


def explain_database(uri: str, error: Exception) -> StepError:
    """What MLflow says about a database that it cannot use, as a sentence of ours."""
    text = " ".join(str(error).split())
    where = f"MLflow's database {without_secrets(uri)}"
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return StepError(
            f"{where} was made by another version of MLflow: back it up and run `mlflow db upgrade`, or use that version."
        )
    if (lacking := why_it_broke(error)) is not None:
        return lacking
    if "database is locked" in text:
        return StepError(f"{where} is held by another process: wait for it, or end it, and run again.")
    if any(words in text for words in _HALF_MADE):
        return StepError(
            f"{where} is half made or half upgraded, by a process that was ended amid it: put a backup in its place, or move it away to begin anew."
        )
    if "disk I/O error" in text:
        return StepError(
            f"The disk of {where} fails ({typed_line(error, 80)}): see what the system's log says of it."
        )
    if any(words in text for words in _DAMAGED):
        return StepError(
            f"{where} is damaged ({typed_line(error, 80)}): put a backup in its place, or rescue what is left with `sqlite3 FILE .recover`."
        )
    return StepError(
        f"{where} cannot be used ({text[:200] or type(error).__name__}): start it, or mend MLFLOW_TRACKING_URI."
    )


def explain(uri: str, error: Exception) -> StepError | None:
    """What failed in the middle of work, if it was the machine or the database; None for a bug."""
    return why_it_broke(error) or (explain_database(uri, error) if _is_a_databases(error) else None)


def _is_a_databases(error: BaseException) -> bool:
    """Whether MLflow, SQLAlchemy or SQLite says that a database cannot be used: locked, damaged, full, or without its tables."""
    kinds = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return (
        not kinds.isdisjoint({"sqlite3", "sqlalchemy"})
        or "(sqlite3." in str(error)
        or "(psycopg" in str(error)
    )


def switch_telemetry_off() -> None:
    """Set the switches that MLflow's import reads."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _ask(uri: str) -> None:
    address = "/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        MlflowServer(uri).ask("GET", address, timeout=_TIMEOUT_SECONDS)
    except MlflowError as error:
        if not needs_mlflow() or error.error_code != "PERMISSION_DENIED":
            raise  # else whether it lets us in, only MLflow's own client can tell


def _knock(uri: str) -> None:
    """Whether a database server listens; MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    if parts.hostname:
        try:
            port = parts.port or (3306 if parts.scheme.startswith("mysql") else 5432)
            socket.create_connection((parts.hostname, port), timeout=5).close()
        except OSError as error:
            raise MlflowError(
                f"MLflow's database does not answer at {without_secrets(uri)} ({error}): start it, or mend MLFLOW_TRACKING_URI."
            ) from error
