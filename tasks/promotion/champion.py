"""Moving the champion: one at a time, checked again at the last moment, and written so that a crash leaves a champion."""

import contextlib
import logging
import secrets
from collections.abc import Iterator

from filelock import FileLock, Timeout

from tasks.errors import RefusedError
from tasks.promotion.ledger import Ledger, LedgerEntry, append, compose, read_ledger
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.frozen import Frozen

_PENDING = "slipway.pending"

_LOCK_SECONDS = 60.0

log = logging.getLogger("slipway")


class StaleError(RefusedError):
    """The champion is not the one that the verdict was passed against: gate again, or give up."""


class _Pending(Frozen):
    """What is being done, kept with the model while it is: whoever finds it ends it."""

    token: str
    entry: LedgerEntry


@contextlib.contextmanager
def model_lock(settings: Settings, model: str, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """One decision about a model at a time on this machine; a process that dies lets go. Raises RefusedError after `seconds`."""
    folder = settings.home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(folder / f"{model}.lock").acquire(timeout=seconds)
    except Timeout as error:
        raise RefusedError(
            f"Another promotion of {model} has been under way for {seconds:.0f} s: see `slipway history {model}`, and try again."
        ) from error
    with held:
        yield


def promote(
    registry: Registry,
    version: Version,
    *,
    against: int | None,
    why: str,
    who: str | None = None,
    verdict: str | None = None,
) -> LedgerEntry:
    """Make `version` the champion, if the champion still is `against` (None: there is none); the ledger's entry.

    The caller holds the model's lock. Raises StaleError when another promotion came first; nothing is moved then.
    """
    ledger = repair(registry, version.model)
    serving = registry.number(version.model, "champion")
    if serving != against:
        raise StaleError(
            f"{version.model} version {version.version} was judged against {_name(against)}, "
            f"but {_name(serving)} serves now: it has to pass the gate against that one; nothing was moved."
        )
    entry = compose(registry, ledger, "promote", version, why=why, who=who, verdict=verdict)
    return _move(registry, ledger, entry, against)


def roll_back(registry: Registry, version: Version, *, why: str, who: str | None = None) -> LedgerEntry:
    """Make an older `version`, which the caller has seen verify and answer, the champion again; the ledger's entry."""
    ledger = repair(registry, version.model)
    entry = compose(registry, ledger, "rollback", version, why=why, who=who)
    return _move(registry, ledger, entry, ledger.serving)


def refuse(
    registry: Registry, version: Version, *, why: str, verdict: str, who: str | None = None
) -> LedgerEntry:
    """Keep in the ledger that `version` was not let through, and why. The caller holds the model's lock."""
    ledger = repair(registry, version.model)
    entry = compose(registry, ledger, "refuse", version, why=why, who=who, verdict=verdict)
    append(registry, entry)
    return entry


def repair(registry: Registry, model: str) -> Ledger:
    """End what a crash interrupted, and write down what was moved outside of Slipway; the ledger, true again.

    Every decision begins with this. The caller holds the model's lock.
    """
    ledger = read_ledger(registry, model)
    pending = pending_entry(registry, model)
    if pending is not None:
        ledger = _finish(registry, ledger, pending)
    champion = registry.by_alias(model, "champion")
    number = champion.version if champion is not None else None
    if number == ledger.serving:
        return ledger
    why = "the alias champion was moved in MLflow, outside of Slipway"
    append(registry, compose(registry, ledger, "repair", champion, why=why, who="unknown"))
    log.warning("%s: the champion was moved outside of Slipway to %s; the ledger now says so", model, number)
    return read_ledger(registry, model)


def pending_entry(registry: Registry, model: str) -> LedgerEntry | None:
    """The decision that is under way, or that a crash left so."""
    text = (registry.model_tags(model) or {}).get(_PENDING)
    return _Pending.model_validate_json(text).entry if text else None


def _finish(registry: Registry, ledger: Ledger, entry: LedgerEntry) -> Ledger:
    """The alias says how far it came: moved, so the entry is owed; or not, so it never happened."""
    serving = registry.number(entry.model, "champion")
    moved = serving == entry.to_version and ledger.serving == entry.from_version
    if moved and entry.previous == ledger.head:
        append(registry, entry)
        log.warning(
            "%s: finished an interrupted %s to version %s", entry.model, entry.action, entry.to_version
        )
        ledger = read_ledger(registry, entry.model)
    _set_previous(registry, entry.model, ledger.before)
    registry.tag_model(entry.model, _PENDING, None)
    return ledger


def _move(registry: Registry, ledger: Ledger, entry: LedgerEntry, against: int | None) -> LedgerEntry:
    """Announce, move, write down. The move of `champion` is one transaction: before it the old one serves, after it the new."""
    model, version = entry.model, entry.to_version
    assert version is not None
    if version == against:
        raise RefusedError(f"{model} version {version} already is the champion; nothing was moved.")
    pending = _Pending(token=secrets.token_hex(8), entry=entry)
    registry.tag_model(model, _PENDING, pending.model_dump_json())
    _check_unchanged(registry, pending, ledger, against)
    registry.set_alias(model, "champion", version)
    _take_back_if_overtaken(registry, pending)
    append(registry, entry)
    _move_again_if_taken_back(registry, pending)
    _set_previous(registry, model, ledger.model_copy(update={"entries": (*ledger.entries, entry)}).before)
    registry.tag_model(model, _PENDING, None)
    return entry


def _check_unchanged(registry: Registry, pending: _Pending, ledger: Ledger, against: int | None) -> None:
    """The last look before the move: an owner that was stopped, lost its lock and woke up must not go on."""
    entry = pending.entry
    if _was_overtaken(registry, pending):
        raise StaleError(
            f"Another promotion of {entry.model} took over while this one stood still; nothing was moved."
        )
    serving = registry.number(entry.model, "champion")
    if serving != against or read_ledger(registry, entry.model).head != ledger.head:
        if not _was_overtaken(registry, pending):  # else it announces whoever changed the champion
            registry.tag_model(entry.model, _PENDING, None)
        raise StaleError(f"The champion of {entry.model} was changed meanwhile; nothing was moved.")


def _take_back_if_overtaken(registry: Registry, pending: _Pending) -> None:
    """MLflow moves an alias without asking what it was, so an owner may also have been stopped between look and move."""
    if not _was_overtaken(registry, pending):
        return
    model = pending.entry.model
    serving, written = None, read_ledger(registry, model).serving
    while written is not None and written != serving:  # who took over may write down its move meanwhile
        registry.set_alias(model, "champion", written)
        serving, written = written, read_ledger(registry, model).serving
    raise StaleError(
        f"Another promotion of {model} took over while this one stood still; the champion is {_name(serving)} again."
    )


def _move_again_if_taken_back(registry: Registry, pending: _Pending) -> None:
    """Whoever was overtaken and took its own move back, before this one was written down, took this one back with it."""
    entry = pending.entry
    serving = registry.number(entry.model, "champion")
    if serving != entry.to_version and not _was_overtaken(registry, pending):
        assert entry.to_version is not None
        registry.set_alias(entry.model, "champion", entry.to_version)


def _was_overtaken(registry: Registry, pending: _Pending) -> bool:
    now = (registry.model_tags(pending.entry.model) or {}).get(_PENDING)
    return now is None or _Pending.model_validate_json(now).token != pending.token


def _set_previous(registry: Registry, model: str, version: int | None) -> None:
    current = registry.number(model, "previous")
    if version is not None and registry.version(model, version) is None:
        version = None  # someone deleted it
    if version is None and current is not None:
        registry.delete_alias(model, "previous")
    elif version is not None and version != current:
        registry.set_alias(model, "previous", version)


def _name(version: int | None) -> str:
    return "no champion" if version is None else f"champion v{version}"
