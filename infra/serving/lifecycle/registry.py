"""The registry: which version an alias names, what is written on it, its files, and a tag for one that failed."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import Field

from infra.serving.errors import NotNow
from infra.serving.options import Target
from tasks.proof.permit import PERMIT_TAG
from tasks.registry.claims import KEYS, read_claims
from tasks.registry.connection import connect
from tasks.registry.download import download_version
from tasks.registry.http import is_missing
from tasks.registry.status_tags import status_texts
from tasks.registry.tags import REVERTED_TAG
from tasks.rollout.record import ROLLOUT_TAG
from tasks.rollout.reported import POD_TAG
from tasks.system.files import disk_is_full
from tasks.system.frozen import Frozen

logger = logging.getLogger("slipway.serving")

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

PAGE = 200

LONGEST_PAUSE = 30.0
"""Between two tries to download: by then a registry that was away may be back."""


class Pointer(Frozen):
    """One version as the registry has it now: when its permit changes, or a server went back from it, the pointer differs."""

    version: str
    created: int
    run_id: str = ""
    permit: str = Field("", repr=False)
    reverted: str = Field("", repr=False)

    @property
    def identity(self) -> tuple[str, int]:
        """Tells it from another version of the same number that was made after a deletion."""
        return self.version, self.created


class Registered(NamedTuple):
    """A model as the registry has it, in one read: which version each alias names, the rollout's record, what flows say of it, and its newest version, where that is told with it."""

    aliases: Mapping[str, str]
    rollout: str
    statuses: Mapping[str, str] = MappingProxyType({})
    newest: Pointer | None = None


class Absent(Exception):
    """The registry answers, and has no such model, version or alias."""


class Unfetched(NotNow):
    """The version is there and its files are not, or not now."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, LONGEST_PAUSE)


class AliasSource:
    """An MLflow registry, spoken to as commands do."""

    def __init__(self, uri: str) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.client = connect(uri)

    def registered(self, name: str) -> Registered:
        """Absent when there is no such model; any other error means that the registry cannot be read."""
        try:
            model = self.client.get_registered_model(name)
        except Exception as error:
            if is_missing(error):
                raise Absent(f"no version yet: {name} serves as soon as the registry has it") from None
            raise
        aliases = {alias: str(version) for alias, version in (model.aliases or {}).items()}
        tags = dict(model.tags or {})
        versions = map(_pointer, model.latest_versions or ())
        newest = max(versions, key=lambda pointer: int(pointer.version), default=None)
        return Registered(aliases, tags.get(ROLLOUT_TAG, ""), status_texts(tags), newest)

    def keys(self) -> dict[str, str]:
        """Changes of keys, as they were claimed."""
        return read_claims(self.client, KEYS) or {}

    def report(self, run: str, process: str, text: str) -> None:
        """What a process has counted of a rollout, where the next decision finds it."""
        self.client.set_tag(run, POD_TAG + process, text)

    def resolve(self, target: Target) -> Pointer:
        """What a target names now. Absent when it names nothing; any other error means that the registry cannot be read."""
        try:
            if target.alias is not None:
                version = self.client.get_model_version_by_alias(target.name, target.alias)
            else:
                version = self.client.get_model_version(target.name, str(target.version))
        except Exception as error:
            if is_missing(error):
                what = target.alias or f"version {target.version}"
                raise Absent(f"no {what} yet: {target} serves as soon as the registry has it") from None
            raise
        return _pointer(version)

    def champions(self) -> tuple[list[str], list[str]]:
        """The models that have a champion, in order; and of the others those of which flows said anything: a first run that failed, a question."""
        names, others, token = list[str](), list[str](), None
        while True:
            page = self.client.search_registered_models(max_results=PAGE, page_token=token)
            names += [model.name for model in page if "champion" in model.aliases]
            others += [model.name for model in page if status_texts(model.tags or {})]
            if (token := page.token) is None:
                return sorted(names), sorted({*others} - {*names})

    def note_revert(self, name: str, version: str, note: str) -> None:
        """Tag the version that a server went back from, for people, for the next decision, and for the other servers.

        A tag and no ledger entry: nothing moved in the registry, and many servers may say the same at once, where
        the ledger's chain has room for one writer.
        """
        try:
            self.client.set_model_version_tag(name, version, REVERTED_TAG, note)
        except Exception as error:
            if not is_missing(error):  # deleted meanwhile: there is nothing to warn of
                raise

    def fetch(self, name: str, version: str, into: Path) -> Path:
        """Download a version's folder into an empty folder; Unfetched when its files are not to be had now."""
        try:
            return download_version(self.client, name, int(version), into)
        except Exception as error:
            logger.debug("%s version %s: %r", name, version, error)
            why = "the disk of the cache is full" if disk_is_full(error) else type(error).__name__
            raise Unfetched(f"its files cannot be downloaded ({why})") from error


def _pointer(version: Any) -> Pointer:
    """A version as MLflow's client or ours gives it."""
    tags = version.tags or {}
    return Pointer(
        version=str(version.version),
        created=int(version.creation_timestamp or 0),
        run_id=version.run_id or "",
        permit=tags.get(PERMIT_TAG, ""),
        reverted=tags.get(REVERTED_TAG, ""),
    )
