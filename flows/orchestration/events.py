"""What others may act on, as Prefect events: a champion that changed, a refusal, an alarm, new data. infra/automations/ does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from flows.orchestration.rollout_schedule import follow
from tasks.errors import RefusedError
from tasks.promotion.entries import Action, LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.promotion.rollout_status import to_look_at
from tasks.promotion.rollouts import last_rollout
from tasks.registry.registry import Registry
from tasks.system.frozen import Frozen

CHAMPION_CHANGED = "slipway.champion.changed"

VERSION_REFUSED = "slipway.version.refused"

ROLLOUT_FINISHED = "slipway.rollout.finished"

_EVENTS: dict[Action, str] = {
    "refuse": VERSION_REFUSED,
    "start": "slipway.rollout.started",
    "step": "slipway.rollout.stepped",
    "pause": "slipway.rollout.paused",
    "resume": "slipway.rollout.resumed",
    "abort": "slipway.rollout.aborted",
}

DRIFT_ALARM = "slipway.drift.alarm"

DATA_CHANGED = "slipway.data.changed"

AUDIT_FAILED = "slipway.audit.failed"


@contextmanager
def announced(registry: Registry, model: str) -> Iterator[None]:
    """Every entry that the model's ledger gets meanwhile becomes an event, also that of a decision that was refused.

    Nothing is held for that: one at a time is for the model's lock on a machine, and for the claims in the ledger anywhere, and a
    process that dies lets go of both.
    """
    before = read_ledger(registry, model).entries
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


def _announce_from(registry: Registry, model: str, before: Sequence[LedgerEntry]) -> None:
    entries = read_ledger(registry, model).entries
    for entry in entries[len(before) :]:
        # Two that decide at once both see it.
        emit(_EVENTS.get(entry.action, CHAMPION_CHANGED), model, _sentence(entry), entry, key=entry.digest)
        if entry.moved and entry.rollout is not None:
            emit(ROLLOUT_FINISHED, model, _sentence(entry), entry, key=f"{entry.digest} rollout")
    if last_rollout(entries) != last_rollout(before) and entries[-1].action != "step":
        follow(to_look_at(registry))


def _sentence(entry: LedgerEntry) -> str:
    number = "no version" if entry.to_version is None else f"version {entry.to_version}"
    if entry.moved:
        what = f"is the champion ({entry.action}), after {_was(entry)}"
    else:
        what = (
            "was refused"
            if entry.rollout is None
            else f"beside {_was(entry)}: {entry.action}, {entry.rollout}"
        )
    return f"{entry.model}: {number} {what}. {entry.person}: {entry.why}"


def _was(entry: LedgerEntry) -> str:
    return "none" if entry.from_version is None else f"version {entry.from_version}"
