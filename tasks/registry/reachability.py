"""Whether MLflow is where settings say and lets us in: asked before MLflow's own client does, whose retries take minutes."""

import os
import socket
import time
from urllib.parse import urlsplit

from tasks.errors import StepError, UserError
from tasks.registry.http import certificates, needs_mlflow, open_session
from tasks.system.urls import without_secrets

_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "mysql", "file")

_PAUSE_SECONDS = 1.0

_TIMEOUT_SECONDS = 10


class UnreachableError(StepError):
    """Nobody answers; somebody may, later."""


def check_mlflow(uri: str, patience: float = 0.0) -> None:
    """Return when MLflow answers at `uri`, within `patience` seconds. Raises UserError or StepError in a sentence if not."""
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
        except UnreachableError:
            if time.monotonic() >= end:
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
    return StepError(f"{where} cannot be used ({text[:200]}): start it, or mend MLFLOW_TRACKING_URI.")


def switch_telemetry_off() -> None:
    """Set the switches that MLflow's import reads."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _ask(uri: str) -> None:
    import requests

    where = without_secrets(uri)
    address = f"{where.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    try:
        with open_session(uri) as session:
            answer = session.get(address, timeout=_TIMEOUT_SECONDS, verify=certificates())
    except requests.RequestException as error:
        raise UnreachableError(
            f"MLflow does not answer at {where} ({_reason(error)}): start it there, or unset MLFLOW_TRACKING_URI for the local store."
        ) from error
    if answer.status_code in (401, 403):
        if needs_mlflow():
            return  # whether it lets us in, only MLflow's own client can tell
        raise StepError(
            f"MLflow at {where} does not accept who asks: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    if not answer.ok:
        raise UnreachableError(f"MLflow at {where} answers {answer.status_code}: see its log.")
    try:
        answer.json()
    except ValueError as error:
        raise StepError(f"{where} is not an MLflow server: mend MLFLOW_TRACKING_URI.") from error


def _reason(error: BaseException) -> str:
    """The innermost of the errors that a library wrapped around each other: [Errno 111] Connection refused."""
    inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error) or type(error).__name__


def _knock(uri: str) -> None:
    """Whether a database server listens; MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    if parts.hostname:
        try:
            port = parts.port or (3306 if parts.scheme.startswith("mysql") else 5432)
            socket.create_connection((parts.hostname, port), timeout=5).close()
        except OSError as error:
            raise UnreachableError(
                f"MLflow's database does not answer at {without_secrets(uri)} ({error}): start it, or mend MLFLOW_TRACKING_URI."
            ) from error
