"""Moving the champion: one decision at a time on a machine, each of which begins with making the ledger true again."""

import contextlib
import json
import logging
from collections.abc import Iterator

from filelock import FileLock, Timeout

from tasks.errors import RefusedError, UserError
from tasks.promotion.deciders import Rule
from tasks.promotion.entries import Ledger, LedgerEntry, Origin, name_of
from tasks.promotion.execution import align, carry_out, enact
from tasks.promotion.ledger import StaleError, read_ledger, sound_ledger
from tasks.promotion.permits import may_roll, may_serve, restore, reverted
from tasks.promotion.rollout_start import begin_rollout
from tasks.promotion.rollouts import open_rollout
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import MOVE_TAG, MOVED_BY_TAG
from tasks.settings import Settings

_LOCK_SECONDS = 60.0

_MOVED = "the alias champion was moved in MLflow, outside of Slipway"

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
            return enact(
                registry, ledger, "promote", version, why=why, who=who, verdict=verdict, origin=origin
            )


def roll_back(registry: Registry, version: Version, *, why: str, who: str | None = None) -> LedgerEntry:
    """Make an older `version`, which the caller has seen verify and answer, the champion again; the ledger's entry."""
    return enact(registry, repair(registry, version.model), "rollback", version, why=why, who=who)


def refuse(
    registry: Registry, version: Version, *, why: str, verdict: str, who: str | None = None
) -> LedgerEntry:
    """Keep in the ledger that `version` was not let through, and why. The caller holds the model's lock."""
    while True:
        ledger = repair(registry, version.model)
        with contextlib.suppress(StaleError):  # whatever came first, the refusal holds
            return enact(registry, ledger, "refuse", version, why=why, who=who, verdict=verdict)


def repair(registry: Registry, model: str) -> Ledger:
    """Carry out what a crash interrupted, and write down what was moved outside of Slipway; the ledger, true again.

    A move by hand to a version that has a permit is a promotion like any other. One to a version that has none is refused: the alias
    goes back to what served. Every decision begins with this. The caller holds the model's lock.
    """
    ledger = sound_ledger(registry, model)
    if ledger.unfinished is not None:
        log.warning("%s: what was interrupted is carried out: %s", model, ledger.unfinished)
        ledger = carry_out(registry, model)
    champion = registry.by_alias(model, "champion")
    try:
        if (champion.version if champion is not None else None) == ledger.serving:
            return ledger if champion is None else _sign_revert(registry, ledger, champion)
        if champion is not None and _comes_by_steps(registry, ledger, champion):
            _roll_moved(registry, ledger, champion)
        else:
            _take_moved(registry, ledger, champion)
    except StaleError:  # another repaired it at the same moment
        pass
    return sound_ledger(registry, model)


def _comes_by_steps(registry: Registry, ledger: Ledger, version: Version) -> bool:
    """Whether a move by hand begins a rollout: not one back to a version that has served, which is never made to wait."""
    policy = registry.settings.policy(version.model)
    return policy.rollout is not None and ledger.serving is not None and not ledger.promoted(version.version)


def _roll_moved(registry: Registry, ledger: Ledger, version: Version) -> None:
    """A move by hand to a version that may serve, or would by its gate: it begins beside the champion, to which the alias goes back."""
    going_on, why_not = open_rollout(ledger.entries), may_roll(registry, ledger, version)
    try:
        if why_not is None:
            begin_rollout(
                registry,
                ledger,
                version,
                why=f"{_MOVED}; it goes by steps",
                who=_mover(registry, ledger.model, version),
            )
            log.warning("%s: %s; a rollout of v%d begins", ledger.model, _MOVED, version.version)
            return
    except StaleError:
        raise
    except UserError as error:
        why_not = str(error)
    if going_on is not None or may_serve(registry, ledger, version) is None:
        align(registry, ledger)  # no refusal, which would take the permit of what is only too early
        registry.tag_version(version, {MOVE_TAG: f"{_MOVED}: {why_not}"})
        log.warning(
            "%s: %s: %s; the alias is %s again", ledger.model, _MOVED, why_not, name_of(ledger.serving)
        )
    else:
        _refuse_moved(registry, ledger, version, why_not)


def _take_moved(registry: Registry, ledger: Ledger, champion: Version | None) -> None:
    why_not = None if champion is None else may_serve(registry, ledger, champion)
    if champion is not None and why_not is not None:
        _refuse_moved(registry, ledger, champion, why_not)
    else:
        enact(registry, ledger, "repair", champion, why=_MOVED, who=_mover(registry, ledger.model, champion))
        log.warning("%s: the champion was moved outside of Slipway; the ledger now says so", ledger.model)


def _refuse_moved(registry: Registry, ledger: Ledger, version: Version, why_not: str) -> None:
    why = f"{_MOVED}, to a version that may not serve: {why_not}"
    enact(registry, ledger, "refuse", version, why=why, who=_mover(registry, ledger.model, version))
    registry.tag_version(version, {MOVE_TAG: why})
    log.warning("%s: %s; the alias is %s again", ledger.model, why, name_of(ledger.serving))


def _mover(registry: Registry, model: str, champion: Version | None) -> str:
    """Whose account moved the alias, where MLflow asks who asks and its front noted it: a word, for whoever edits a model writes its tags."""
    noted = (registry.model_tags(model) or {}).get(MOVED_BY_TAG, "")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        moved = json.loads(noted)
        if moved["version"] == (None if champion is None else str(champion.version)):
            return str(moved["who"])
    return Rule("unknown")


def _sign_revert(registry: Registry, ledger: Ledger, champion: Version) -> Ledger:
    """Servers that went back from the champion could only say so: the refusal, and the way back, are signed here."""
    if may_serve(registry, ledger, champion) is not None:  # one from before there were permits gets its own
        restore(registry, ledger, champion)
    found = reverted(registry, champion)
    if found is None:
        return ledger
    why, who = f"servers went back from it: {found.reason}", Rule(found.by)
    enact(registry, ledger, "refuse", champion, why=why, who=who)
    ledger = read_ledger(registry, ledger.model)
    before = None if ledger.before is None else registry.version(ledger.model, ledger.before)
    if before is not None and may_serve(registry, ledger, before) is None:
        enact(registry, ledger, "rollback", before, why=why, who=who)
    return read_ledger(registry, ledger.model)


def _name(version: int | None) -> str:
    return "no champion" if version is None else f"champion v{version}"
