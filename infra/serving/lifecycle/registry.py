"""The registry: which version an alias names, its files, and a tag for one that failed."""

import datetime
import errno
import json
import logging
import os
import socket
from pathlib import Path

from infra.serving.ipc.messages import Revert
from infra.serving.options import Target
from tasks.registry.connection import connect
from tasks.registry.download import download_version
from tasks.registry.http import is_missing
from tasks.system.frozen import Frozen

logger = logging.getLogger("slipway.serving")

REVERTED = "slipway.reverted"

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Pointer(Frozen):
    """One version, told apart from another of the same number that was made after a deletion."""

    version: str
    created: int


class Absent(Exception):
    """The registry answers, and has no such model, version or alias."""


class Unfetched(Exception):
    """The version is there and its files are not, or not now."""


class AliasSource:
    """An MLflow registry, spoken to as commands do."""

    def __init__(self, uri: str) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.client = connect(uri)

    def resolve(self, target: Target) -> Pointer:
        """What a target names now. Absent when it names nothing; any other error means that the registry cannot be read."""
        try:
            if target.alias is not None:
                version = self.client.get_model_version_by_alias(target.name, target.alias)
            else:
                version = self.client.get_model_version(target.name, str(target.version))
        except Exception as error:
            if is_missing(error):
                raise Absent(f"the registry has no {target}; it is waited for") from None
            raise
        return Pointer(version=str(version.version), created=int(version.creation_timestamp or 0))

    def note_revert(self, revert: Revert) -> None:
        """Tag the version that a server went back from: the alias still names it, and people should know.

        A tag and no ledger entry: nothing moved in the registry, and many servers may say the same at once, where
        the ledger's chain has room for one writer.
        """
        at = datetime.datetime.fromtimestamp(revert.at, datetime.UTC).isoformat(timespec="seconds")
        note = {"at": at, "by": socket.gethostname(), "back_to": revert.back_to, "reason": revert.reason}
        self.client.set_model_version_tag(revert.model, revert.version, REVERTED, json.dumps(note))

    def fetch(self, name: str, version: str, into: Path) -> Path:
        """Download a version's folder into an empty folder; Unfetched when its files are not to be had now."""
        try:
            return download_version(self.client, name, int(version), into)
        except Exception as error:
            logger.debug("%s version %s: %r", name, version, error)
            full = os.strerror(errno.ENOSPC) in f"{error} {error.__cause__}"
            why = "the disk of the cache is full" if full else type(error).__name__
            raise Unfetched(f"its files cannot be downloaded ({why})") from error
