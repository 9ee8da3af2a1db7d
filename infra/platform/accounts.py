"""Who may ask the servers of `slipway up`: anybody on this machine, until the environment names an account."""

import contextlib
import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from infra.secrets.inject import read_secrets
from tasks.errors import UserError
from tasks.system.files import write_atomically

PREFECT = "PREFECT_SERVER_API_AUTH_STRING"

MLFLOW = "MLFLOW_AUTH_ADMIN_PASSWORD"

_ADMIN = "admin"


def accounts(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What the servers ask for and what their clients here answer, from variables of Prefect's and MLflow's own.

    PREFECT_SERVER_API_AUTH_STRING (name:password) and MLFLOW_AUTH_ADMIN_PASSWORD, or the same with _FILE, each switch one on.
    Raises UserError for a file that is not there, and for a password that is not the one MLflow keeps.
    """
    found = read_secrets(given)
    known = {**given, **found}
    if known.get(PREFECT):
        found["PREFECT_API_AUTH_STRING"] = known[PREFECT]
    if known.get(MLFLOW):
        user = known.get("MLFLOW_AUTH_ADMIN_USERNAME", _ADMIN)
        if not known.get("MLFLOW_AUTH_CONFIG_PATH"):
            _check_kept(_users(home), user, known[MLFLOW])
        found |= {
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": known[MLFLOW],
            "MLFLOW_AUTH_CONFIG_PATH": known.get("MLFLOW_AUTH_CONFIG_PATH") or _config(home),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": known.get("MLFLOW_FLASK_SERVER_SECRET_KEY")
            or secrets.token_urlsafe(32),
        }
    return found


def _users(home: Path) -> Path:
    return home / "mlflow-auth.db"


def _check_kept(users: Path, user: str, password: str) -> None:
    """MLflow takes the first password it is given and no other later: said now, or every run would be refused then."""
    if not users.exists():
        return
    from werkzeug.security import check_password_hash

    with contextlib.closing(sqlite3.connect(users)) as database, contextlib.suppress(sqlite3.Error):
        kept = database.execute("select password_hash from users where username = ?", (user,)).fetchone()
        if kept is not None and not check_password_hash(kept[0], password):
            raise UserError(
                f"MLflow keeps the first password that {user!r} was given, and {MLFLOW} is another: give that one, "
                f"or, if it is lost, move {users} away, for accounts to begin anew."
            )


def _config(home: Path) -> str:
    """MLflow's own settings, with its users beside its other tables; no password is in it."""
    path = home / "mlflow-auth.ini"
    database = f"sqlite:///{_users(home)}".replace("%", "%%")
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
