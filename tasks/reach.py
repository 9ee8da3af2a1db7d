"""Whether MLflow is where settings say and lets us in: asked before MLflow's own client does, whose retries take minutes."""

import base64
import json
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tasks.errors import StepError, UserError

_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "mysql", "file")
_PAUSE_SECONDS = 1.0


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


def without_secrets(uri: str) -> str:
    """The address without the user and the password in it."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def switch_telemetry_off() -> None:
    """Set the switches that MLflow's import reads."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _ask(uri: str) -> None:
    address = f"{without_secrets(uri).rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    where = without_secrets(uri)
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=account(uri)), timeout=10
        ) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise StepError(
                f"MLflow at {where} does not accept who asks: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            ) from error
        raise UnreachableError(f"MLflow at {where} answers {error.code}: see its log.") from error
    except ValueError as error:
        raise StepError(f"{where} is not an MLflow server: mend MLFLOW_TRACKING_URI.") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UnreachableError(
            f"MLflow does not answer at {where} ({reason}): start it there, or unset MLFLOW_TRACKING_URI for the local store."
        ) from error


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


def account(uri: str) -> dict[str, str]:
    """As MLflow's client sends it: from the address, the environment, or ~/.mlflow/credentials."""
    parts = urlsplit(uri)
    user = parts.username or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = parts.password or os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if not user and (Path.home() / ".mlflow" / "credentials").is_file():
        from mlflow.utils.credentials import read_mlflow_creds

        found = read_mlflow_creds()
        user, password = found.username, found.password
    if not user:
        return {}
    account = base64.b64encode(f"{user}:{password or ''}".encode())
    return {"Authorization": f"Basic {account.decode()}"}
