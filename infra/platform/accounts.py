"""Who may ask the servers of `slipway up`: anybody on this machine, until the environment names an account."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from infra.secrets.inject import read_secrets
from tasks.errors import UserError
from tasks.registry.http import MlflowError
from tasks.registry.reachability import check_mlflow
from tasks.system.files import write_atomically

PREFECT = "PREFECT_SERVER_API_AUTH_STRING"

MLFLOW = "MLFLOW_AUTH_ADMIN_PASSWORD"

_ADMIN = "admin"


def accounts(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the servers ask for and what their clients here answer, from variables of Prefect's and MLflow's own.

    PREFECT_SERVER_API_AUTH_STRING (name:password) and MLFLOW_AUTH_ADMIN_PASSWORD, or the same with _FILE, each switch one on.
    Raises UserError for a file that is not there.
    """
    made = read_secrets(given)
    variables = {**given, **made}
    if variables.get(PREFECT):
        made["PREFECT_API_AUTH_STRING"] = variables[PREFECT]
    if variables.get(MLFLOW):
        made |= {
            "MLFLOW_TRACKING_USERNAME": variables.get("MLFLOW_AUTH_ADMIN_USERNAME", _ADMIN),
            "MLFLOW_TRACKING_PASSWORD": variables[MLFLOW],
            "MLFLOW_AUTH_CONFIG_PATH": variables.get("MLFLOW_AUTH_CONFIG_PATH") or _config(home),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": variables.get("MLFLOW_FLASK_SERVER_SECRET_KEY")
            or secrets.token_urlsafe(32),
        }
    return made


def check_login(home: Path, url: str, environment: Mapping[str, str]) -> None:
    """MLflow takes the first password it is given and no other later: said now, or every run would be refused then.

    Raises UserError when MLflow, which answers at `url`, does not let in who the `environment` names.
    """
    if environment.get("MLFLOW_AUTH_CONFIG_PATH") != str(_config_file(home)):
        return  # nobody is asked, or by rules of the user's own
    user = environment["MLFLOW_TRACKING_USERNAME"]
    account = f"{quote(user, safe='')}:{quote(environment['MLFLOW_TRACKING_PASSWORD'], safe='')}"
    try:
        check_mlflow(url.replace("://", f"://{account}@"))
    except MlflowError as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        raise UserError(
            f"MLflow keeps the first password that {user!r} was given, and {MLFLOW} is another: give that one, "
            f"or, if it is lost, move {_users(home)} away, for accounts to begin anew."
        ) from error


def _users(home: Path) -> Path:
    return home / "mlflow-auth.db"


def _config_file(home: Path) -> Path:
    return home / "mlflow-auth.ini"


def _config(home: Path) -> str:
    """MLflow's own settings, with its users beside its other tables; no password is in it."""
    database = f"sqlite:///{_users(home)}".replace("%", "%%")
    lines = (
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = {database}",
        f"admin_username = {_ADMIN}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds = 60",  # 0.6 s of CPU a request otherwise; one process: never stale
    )
    write_atomically(_config_file(home), "\n".join([*lines, ""]).encode())
    return str(_config_file(home))
