"""Who may ask the servers of `slipway up`: anybody on this machine, until the environment names an account."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.with_secrets import read_secrets
from tasks.files import write_atomically

PREFECT = "PREFECT_SERVER_API_AUTH_STRING"
MLFLOW = "MLFLOW_AUTH_ADMIN_PASSWORD"
_ADMIN = "admin"


def accounts(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the servers ask for and what their clients here answer, from variables of Prefect's and MLflow's own.

    PREFECT_SERVER_API_AUTH_STRING (name:password) and MLFLOW_AUTH_ADMIN_PASSWORD, or the same with _FILE, each switch one on.
    MLflow keeps the first password that it is given. Raises UserError for a file that is not there.
    """
    found = read_secrets(given)
    known = {**given, **found}
    if known.get(PREFECT):
        found["PREFECT_API_AUTH_STRING"] = known[PREFECT]
    if known.get(MLFLOW):
        found |= {
            "MLFLOW_TRACKING_USERNAME": known.get("MLFLOW_AUTH_ADMIN_USERNAME", _ADMIN),
            "MLFLOW_TRACKING_PASSWORD": known[MLFLOW],
            "MLFLOW_AUTH_CONFIG_PATH": known.get("MLFLOW_AUTH_CONFIG_PATH") or _config(home),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": known.get("MLFLOW_FLASK_SERVER_SECRET_KEY")
            or secrets.token_urlsafe(32),
        }
    return found


def _config(home: Path) -> str:
    """MLflow's own settings, with its users beside its other tables; no password is in it."""
    path = home / "mlflow-auth.ini"
    database = f"sqlite:///{home / 'mlflow-auth.db'}".replace("%", "%%")
    lines = (
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = {database}",
        f"admin_username = {_ADMIN}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds = 60",  # 0.6 s of CPU a request otherwise; one process: never stale
    )
    write_atomically(path, "\n".join([*lines, ""]).encode())
    return str(path)
