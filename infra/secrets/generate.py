"""`python -m infra.secrets.generate [FOLDER]`: random passwords and a pair of signing keys for infra/compose.yaml, made once."""

import os
import secrets
import sys
from pathlib import Path

from tasks.errors import UserError, exiting_in_a_sentence
from tasks.system import signing

FOLDER = Path(__file__).parent.parent / ".secrets"


def make_secrets(folder: Path) -> None:
    """Write what is missing and leave what is there. The folder is its owner's alone; its files are read by containers."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, value in _passwords().items():
        _write_new(folder / name, value)
    if not (folder / "signing_private").exists():
        signing.create_key_pair(folder / "signing_private", folder / "signing_public")
        for name in ("signing_private", "signing_public"):
            (folder / name).chmod(0o644)


def _passwords() -> dict[str, str]:
    random = secrets.token_urlsafe
    return {
        "postgres_password": random(24),
        "prefect_auth": f"slipway:{random(24)}",
        "mlflow_password": random(24),
        "mlflow_server_password": random(24),
        "mlflow_session_key": random(32),
        "s3_access_key": random(12),
        "s3_secret_key": random(32),
        "serve_keys": random(24),
        "signer_key": random(32),
        "grafana_password": random(18),
        "alert_webhook": f"http://127.0.0.1:9/{random(12)}",  # nobody: put the address of your chat's webhook there
    }


def _write_new(path: Path, value: str) -> None:
    """0644 in a 0700 folder: Compose mounts each file by itself, and the containers' user is not the owner."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
            file.write(value + "\n")
    except FileExistsError:
        return


@exiting_in_a_sentence()
def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    try:
        make_secrets(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from error
    print(f"Secrets are in {folder}; back them up, and keep them out of version control.")


if __name__ == "__main__":
    main()
