"""Moving the champion: one decision at a time, claimed in the ledger first, and then carried out by whoever comes next.

The ledger is the decision and the aliases follow from it, so that a process killed at any moment leaves either nothing or a decision
that the next one carries out. Two that decide at once want the same place in the ledger: one has it, the other is told.
"""

import contextlib
import logging
from collections.abc import Iterator

from filelock import FileLock, Timeout

from tasks.errors import RefusedError
from tasks.promotion.entries import Action, Ledger, LedgerEntry, Origin, name_of
from tasks.promotion.ledger import StaleError, claim, close, compose, read_ledger, sound_ledger
from tasks.promotion.permits import grant, may_serve, restore, reverted, withdraw
from tasks.proof.permit import Basis
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import MOVE_TAG
from tasks.settings import Settings

_LOCK_SECONDS = 60.0

log = logging.getLogger("slipway")


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
    origin: Origin | None = None,
) -> LedgerEntry:
    """Make `version` the champion, if the champion still is `against` (None: there is none); the ledger's entry.

    The caller holds the model's lock. Raises StaleError when another promotion came first; nothing is moved then.
    """
    while True:
        ledger = repair(registry, version.model)
        if ledger.serving != against:
            raise StaleError(
                f"{version.model} version {version.version} was judged against {_name(against)}, "
                f"but {_name(ledger.serving)} serves now: it has to pass the gate against that one; nothing was moved."
            )
        if version.version == against:
            raise RefusedError(
                f"{version.model} version {version.version} already is the champion; nothing was moved."
            )
        with contextlib.suppress(
            StaleError
        ):  # what came first may have been a refusal, which changes nothing here
            entry = compose(
                registry, ledger, "promote", version, why=why, who=who, verdict=verdict, origin=origin
            )
            return _make(registry, ledger, entry)


def roll_back(registry: Registry, version: Version, *, why: str, who: str | None = None) -> LedgerEntry:
    """Make an older `version`, which the caller has seen verify and answer, the champion again; the ledger's entry."""
    return _decide(registry, repair(registry, version.model), "rollback", version, why=why, who=who)


def refuse(
    registry: Registry, version: Version, *, why: str, verdict: str, who: str | None = None
) -> LedgerEntry:
    """Keep in the ledger that `version` was not let through, and why. The caller holds the model's lock."""
    while True:
        ledger = repair(registry, version.model)
        with contextlib.suppress(StaleError):  # whatever came first, the refusal holds
            return _decide(registry, ledger, "refuse", version, why=why, who=who, verdict=verdict)


def repair(registry: Registry, model: str) -> Ledger:
    """Carry out what a crash interrupted, and write down what was moved outside of Slipway; the ledger, true again.

    A move by hand to a version that has a permit is a promotion like any other. One to a version that has none is refused: the alias
    goes back to what served. Every decision begins with this. The caller holds the model's lock.
    """
    ledger = sound_ledger(registry, model)
    if ledger.unfinished is not None:
        log.warning("%s: what was interrupted is carried out: %s", model, ledger.unfinished)
        ledger = _carry_out(registry, model)
    champion = registry.by_alias(model, "champion")
    moved = "the alias champion was moved in MLflow, outside of Slipway"
    try:
        if (champion.version if champion is not None else None) == ledger.serving:
            return ledger if champion is None else _sign_revert(registry, ledger, champion)
        why_not = None if champion is None else may_serve(registry, ledger, champion)
        if why_not is None:
            _decide(registry, ledger, "repair", champion, why=moved, who="unknown")
            log.warning("%s: the champion was moved outside of Slipway; the ledger now says so", model)
        elif champion is not None:
            why = f"{moved}, to a version that may not serve: {why_not}"
            _decide(registry, ledger, "refuse", champion, why=why, who="unknown")
            registry.tag_version(champion, {MOVE_TAG: why})
            log.warning("%s: %s; the alias is %s again", model, why, name_of(ledger.serving))
    except StaleError:  # another repaired it at the same moment
        pass
    return sound_ledger(registry, model)


def _sign_revert(registry: Registry, ledger: Ledger, champion: Version) -> Ledger:
    """Servers that went back from the champion could only say so: the refusal, and the way back, are signed here."""
    if may_serve(registry, ledger, champion) is not None:  # one from before there were permits gets its own
        restore(registry, ledger, champion)
    found = reverted(registry, champion)
    if found is None:
        return ledger
    why, who = f"servers went back from it: {found.reason}", found.by
    _decide(registry, ledger, "refuse", champion, why=why, who=who)
    ledger = read_ledger(registry, ledger.model)
    before = None if ledger.before is None else registry.version(ledger.model, ledger.before)
    if before is not None and may_serve(registry, ledger, before) is None:
        _decide(registry, ledger, "rollback", before, why=why, who=who)
    return read_ledger(registry, ledger.model)


def _decide(
    registry: Registry,
    ledger: Ledger,
    action: Action,
    version: Version | None,
    *,
    why: str,
    who: str | None,
    verdict: str | None = None,
) -> LedgerEntry:
    return _make(
        registry, ledger, compose(registry, ledger, action, version, why=why, who=who, verdict=verdict)
    )


def _make(registry: Registry, ledger: Ledger, entry: LedgerEntry) -> LedgerEntry:
    claim(registry, ledger, entry)
    _carry_out(registry, ledger.model)
    return entry


def _carry_out(registry: Registry, model: str) -> Ledger:
    """Make permit and aliases what the ledger's last entry says; again when another decided meanwhile, whose move this one undid."""
    head = None
    while (ledger := read_ledger(registry, model)).head != head:
        head = ledger.head
        if ledger.unfinished is not None:
            _tell_servers(registry, ledger.unfinished)
        _align(registry, ledger)
        if ledger.unfinished is not None:
            close(registry, ledger)
    return ledger


def _tell_servers(registry: Registry, entry: LedgerEntry) -> None:
    """The permit comes before the alias: servers follow that, and load nothing without it."""
    version = None if entry.to_version is None else registry.version(entry.model, entry.to_version)
    if version is None:
        return
    if entry.action == "refuse":
        withdraw(registry, version, why=entry.why, by=entry.who)
    else:
        basis: Basis = "gate" if entry.verdict == "pass" and entry.action == "promote" else "approval"
        grant(registry, version, basis=basis, why=entry.why, by=entry.who)


def _align(registry: Registry, ledger: Ledger) -> None:
    """The move of `champion` is one transaction: before it the old one serves, after it the new."""
    for alias, version in (("champion", ledger.serving), ("previous", ledger.before)):
        current = registry.number(ledger.model, alias)
        if version is not None and registry.version(ledger.model, version) is None:
            version = None  # someone deleted it
        if version is None and current is not None:
            registry.delete_alias(ledger.model, alias)
        elif version is not None and version != current:
            registry.set_alias(ledger.model, alias, version)


def _name(version: int | None) -> str:
    return "no champion" if version is None else f"champion v{version}"
