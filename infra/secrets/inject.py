"""Starts a container's command with its secrets: NAME_FILE names the file that holds NAME, as Docker and Kubernetes mount it."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import UserError, exiting_in_a_sentence

SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "PGPASSWORD",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "SLIPWAY_SIGNER_KEY",
)


def read_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets whose files are named and that are not given themselves. Raises UserError for a file that is not there, and for what is no secret."""
    secrets = {}
    for name in SECRETS:
        given, path = environment.get(name, ""), environment.get(f"{name}_FILE")
        if path and not given:
            given = secrets[name] = _read(f"{name}_FILE", Path(path))
        check_secret(name, given)
    return secrets


def check_secret(name: str, given: str) -> None:
    """Raise UserError for blanks and commas, which keep nobody out: whoever sets it wants that. Empty, it is not set."""
    account = name == "PREFECT_SERVER_API_AUTH_STRING" and ":" in given
    secret = given.partition(":")[2] if account else given
    if given and not re.search(r"[^\s,]", secret):
        give = "name:password" if account else "one"
        raise UserError(f"{name} is set and holds no secret: give {give}, or unset it.")


def _read(variable: str, path: Path) -> str:
    try:
        content = path.read_text().strip()
    except OSError as error:
        raise UserError(
            f"{variable}={path} cannot be read ({error.strerror}): mount the secret there."
        ) from error
    if not content:
        raise UserError(f"{variable}={path} is empty: put the secret in it.")
    return content


@exiting_in_a_sentence()
def main(command: list[str]) -> None:
    """Become the command: no process stays between it and the signals of whoever stops it."""
    os.environ.update(read_secrets(os.environ))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
