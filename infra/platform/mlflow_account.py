"""An account of MLflow's for the model server: it reads all, and notes of its own models that it went back from a version."""

import os
import sys
from pathlib import Path

from tasks.errors import UserError, exiting_in_a_sentence
from tasks.registry.http import MlflowError, MlflowServer

_API = "/api"

_PERMISSION = "EDIT"
"""Of its models; it tags a version with it. What else it allows, moving an alias, comes to nothing without a permit."""


def make_account(server: MlflowServer, name: str, password: str, models: list[str]) -> None:
    """Have the account, with this password and these models; again changes nothing. The server is asked as an admin."""
    account = {"username": name, "password": password}
    if not _made(server, f"{_API}/2.0/mlflow/users/create", account):
        server.request("PATCH", f"{_API}/2.0/mlflow/users/update-password", json=account)
    for model in models:
        granted = {"resource_type": "registered_model", "resource_id": model, "permission": _PERMISSION}
        _made(server, f"{_API}/3.0/mlflow/users/permissions/grant", {"username": name, **granted})


def _made(server: MlflowServer, path: str, what: dict[str, str]) -> bool:
    """Whether it was made now; False when it was there."""
    try:
        server.ask("POST", path, json=what)
    except MlflowError as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


@exiting_in_a_sentence()
def main() -> None:
    """`python -m infra.platform.mlflow_account NAME PASSWORD_FILE MODEL…`, as the admin that MLFLOW_TRACKING_USERNAME is."""
    name, file, *models = sys.argv[1:]
    try:
        password = Path(file).read_text().strip()
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}): put the password of {name} there."
        ) from error
    make_account(MlflowServer(os.environ["MLFLOW_TRACKING_URI"], tries=10), name, password, models)


if __name__ == "__main__":
    main()
