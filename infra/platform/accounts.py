"""Who may ask the servers of `slipway up`: anybody on this machine, until the environment names an account."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.secrets.inject import read_secrets
from tasks.system.files import write_atomically

PREFECT = "PREFECT_SERVER_API_AUTH_STRING"

MLFLOW = "MLFLOW_AUTH_ADMIN_PASSWORD"

_ADMIN = "admin"


def accounts(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the servers ask for and what their clients here answer, from variables of Prefect's and MLflow's own.

    PREFECT_SERVER_API_AUTH_STRING (name:password) and MLFLOW_AUTH_ADMIN_PASSWORD, or the same with _FILE, each switch one on.
    Raises UserError as `read_secrets` does.
    """
    account = read_secrets(given)
    variables = {**given, **account}
    account |= account_of_commands(variables)
    if variables.get(MLFLOW):
        account |= {
            "MLFLOW_AUTH_CONFIG_PATH": variables.get("MLFLOW_AUTH_CONFIG_PATH") or _config(home),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": variables.get("MLFLOW_FLASK_SERVER_SECRET_KEY")
            or secrets.token_urlsafe(32),
        }
    return account


def account_of_commands(variables: Mapping[str, str]) -> dict[str, str]:
    """What a client of these servers answers: the same word as they ask for."""
    account = {}
    if variables.get(PREFECT):
        account["PREFECT_API_AUTH_STRING"] = variables[PREFECT]
    if variables.get(MLFLOW):
        account["MLFLOW_TRACKING_USERNAME"] = variables.get("MLFLOW_AUTH_ADMIN_USERNAME", _ADMIN)
        account["MLFLOW_TRACKING_PASSWORD"] = variables[MLFLOW]
    return account


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
