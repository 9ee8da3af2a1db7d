"""What others may act on, as Prefect events: a champion that changed, a refusal, an alarm, new data. infra/automations/ does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from tasks.errors import RefusedError
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.system.frozen import Frozen

CHAMPION_CHANGED = "slipway.champion.changed"

VERSION_REFUSED = "slipway.version.refused"

DRIFT_ALARM = "slipway.drift.alarm"

DATA_CHANGED = "slipway.data.changed"


@contextmanager
def announced(registry: Registry, model: str) -> Iterator[None]:
    """Every entry that the model's ledger gets meanwhile becomes an event, also that of a decision that was refused.

    Nothing is held for that: one at a time is for the model's lock on a machine, and for the claims in the ledger anywhere, and a
    process that dies lets go of both.
    """
    before = len(read_ledger(registry, model).entries)
    try:
        yield
    except RefusedError:
        _announce_from(registry, model, before)
        raise
    _announce_from(registry, model, before)


def emit(
    event: str,
    model: str,
    message: str,
    about: Frozen,
    related: list[dict[str, str]] | None = None,
    key: str | None = None,
) -> None:
    """An event about a model: `message` is for people, `about` is the payload for programs.

    `key`: what makes it the same event, whoever says it; without, it is one more.
    """
    if PREFECT_API_URL.value() is None:
        return  # Prefect would start a server of its own to have somewhere to send it to
    payload: dict[str, Any] = {"model": model, "message": message, **about.model_dump(mode="json")}
    resource = {"prefect.resource.id": f"slipway.model.{model}", "prefect.resource.name": model}
    id_ = None if key is None else uuid5(NAMESPACE_OID, key)
    emit_event(event, resource, related=related or [], payload=payload, id=id_)


def _announce_from(registry: Registry, model: str, before: int) -> None:
    for entry in read_ledger(registry, model).entries[before:]:
        event = CHAMPION_CHANGED if entry.moved else VERSION_REFUSED
        emit(event, model, _sentence(entry), entry, key=entry.digest)  # two that decide at once both see it


def _sentence(entry: LedgerEntry) -> str:
    number = "no version" if entry.to_version is None else f"version {entry.to_version}"
    what = "was refused" if not entry.moved else f"is the champion ({entry.action}), after {_was(entry)}"
    return f"{entry.model}: {number} {what}. {entry.who}: {entry.why}"


def _was(entry: LedgerEntry) -> str:
    return "none" if entry.from_version is None else f"version {entry.from_version}"
