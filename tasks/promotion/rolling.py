"""A rollout goes on, one pass at a time: whoever looks, whenever, wherever, does what the ledger and the counts say; and what a person says."""

from tasks.errors import RefusedError, UserError
from tasks.promotion.automatic import decide_on_waiting
from tasks.promotion.champion import model_lock, repair
from tasks.promotion.deciders import Rule, check_may_decide
from tasks.promotion.entries import Action, Ledger, LedgerEntry
from tasks.promotion.execution import enact, tell_rollout
from tasks.promotion.ledger import StaleError, in_short
from tasks.promotion.permits import may_serve, restore, reverted
from tasks.promotion.rollout_status import Standing, log_curves, standing
from tasks.promotion.rollouts import BY_EVIDENCE, Rollout, open_rollout
from tasks.records import Version
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.evidence import RolloutEvidence
from tasks.rollout.guards import answers, harms, surely
from tasks.rollout.reported import RevertNote
from tasks.settings import Settings


def advance(settings: Settings, model: str) -> Standing | None:
    """One pass: finish what was claimed, make the record what the ledger says, look, and do what follows; None without a rollout.

    Once it has ended, the next pass decides on the version that waited for that.

    Any number of processes may do this at once, and any may be killed at any moment: each step is made once.
    """
    registry = Registry(settings)
    check_model(registry, model)
    with model_lock(settings, model):
        ledger = repair(registry, model)
        tell_rollout(registry, ledger)
        going_on = open_rollout(ledger.entries)
        if going_on is None:
            decided = decide_on_waiting(registry, ledger)
            return standing(registry, ledger if decided is None else repair(registry, model))
        try:
            made = _pass(registry, ledger, going_on)
        except StaleError:  # another decided at the same moment: the next pass begins where that one ended
            return standing(registry, repair(registry, model))
        if isinstance(made, Standing):
            return made
        seen = standing(registry, repair(registry, model))
    return None if seen is None else seen.model_copy(update={"made": made})


def _pass(registry: Registry, ledger: Ledger, going_on: Rollout) -> LedgerEntry | Standing:
    """What it decided; where nothing follows, what it saw."""
    version = registry.version(ledger.model, going_on.terms.new)
    if version is not None and may_serve(registry, ledger, version) is not None:
        restore(registry, ledger, version)
    if note := _note(registry, version, going_on):
        return _brake(registry, ledger, going_on, note)
    seen = standing(registry, ledger)
    assert seen is not None
    evidence = _evidence(going_on, seen.counts, seen.labels, seen.labels_sha256)
    if version is None:
        gone = f"version {going_on.terms.new} was deleted from the registry"
        return _go_on(registry, ledger, "abort", evidence, why=gone, who=BY_EVIDENCE, verdict="inconclusive")
    action, why = seen.decision.action, in_short([seen.decision.why])
    sure = action != "abort" or bool(harms(evidence.answers))  # else the run that all this is kept in is gone
    if sure:
        log_curves(registry, seen)
    if action == "stay" or action == "ask":
        return seen
    if action == "step":
        step = evidence.step + 1
        evidence = evidence.model_copy(update={"step": step, "weight": seen.policy.steps[step]})
    verdict = "pass" if action != "abort" else "fail" if sure else "inconclusive"
    return _go_on(registry, ledger, action, evidence, why=why, who=BY_EVIDENCE, verdict=verdict)


def _note(registry: Registry, version: Version | None, going_on: Rollout) -> RevertNote | None:
    """What a server wrote that went back from the new version in this rollout."""
    return None if version is None else reverted(registry, version, going_on.stands.run)


def _brake(registry: Registry, ledger: Ledger, going_on: Rollout, note: RevertNote) -> LedgerEntry:
    """A server went back, and all with it: the entry has that server's counts, which have to bear it out alone (see `replay`)."""
    evidence = _evidence(going_on, note.counts or Counts())
    why = in_short([f"servers went back from it: {note.reason}"])
    return _go_on(registry, ledger, "abort", evidence, why=why, who=Rule(note.by), verdict="fail")


def say(settings: Settings, model: str, action: Action, *, why: str, who: str | None = None) -> LedgerEntry:
    """What a person decides about the rollout: pause, resume, abort or finish; its entry.

    Raises UserError where there is none to decide about, RefusedError for a finish while the new version is surely worse.
    """
    registry = Registry(settings)
    check_model(registry, model)
    check_may_decide(settings, model, who)
    with model_lock(settings, model):
        return said(registry, repair(registry, model), action, why=why, who=who)


def said(
    registry: Registry, ledger: Ledger, action: Action, *, why: str, who: str | None = None
) -> LedgerEntry:
    """The same by a `ledger` that is sound; the caller holds the model's lock."""
    going_on = open_rollout(ledger.entries)
    if going_on is None:
        raise UserError(
            f"No rollout of {ledger.model} is open: `slipway history {ledger.model}` shows the last one's end."
        )
    if (action == "pause" and going_on.paused) or (action == "resume" and not going_on.paused):
        stands = "paused already" if going_on.paused else "not paused"
        raise UserError(f"The rollout of {ledger.model} version {going_on.terms.new} is {stands}.")
    if note := _note(registry, registry.version(ledger.model, going_on.terms.new), going_on):
        _brake(registry, ledger, going_on, note)
        raise RefusedError(
            f"The rollout of {ledger.model} version {going_on.terms.new} is over: servers went back from it: {note.reason}"
        )
    seen = standing(registry, ledger)
    assert seen is not None
    evidence = _evidence(going_on, seen.counts, seen.labels, seen.labels_sha256)
    if action == "finish":
        _check_finish(going_on, evidence, seen.decision.why)
    return _go_on(registry, ledger, action, evidence, why=why, who=who, verdict="inconclusive")


def _check_finish(rollout: Rollout, evidence: RolloutEvidence, why: str) -> None:
    """Raise RefusedError for a version that is surely worse, or of which nobody knows whether it is, `why`."""
    model, new, margin = rollout.record.model, rollout.terms.new, rollout.terms.policy.margin
    if margin.score is not None and evidence.labels is None:
        raise RefusedError(f"{model} version {new} is not finished while nobody knows its score: {why}")
    if worse := harms(evidence.answers):
        labels = evidence.labels or LabelCounts()
        raise RefusedError(
            f"{model} version {new} is not finished, on nobody's word: "
            f"{' '.join(surely(answer, margin, evidence.counts, labels) for answer in worse)} "
            f"It goes back with the next pass, or now: `slipway rollout {model} abort`."
        )


def _go_on(
    registry: Registry,
    ledger: Ledger,
    action: Action,
    evidence: RolloutEvidence,
    *,
    why: str,
    who: str | None,
    verdict: str,
) -> LedgerEntry:
    going_on = open_rollout(ledger.entries)
    assert going_on is not None
    number = going_on.terms.new
    version = registry.version(ledger.model, number)
    if version is None:  # deleted; to end it takes no more than its number
        version = Version(model=ledger.model, version=number, sha256=going_on.terms.new_sha256, run_id="")
    return enact(registry, ledger, action, version, why=why, who=who, verdict=verdict, rollout=evidence)


def _evidence(
    rollout: Rollout, counts: Counts, labels: LabelCounts | None = None, labels_sha256: str | None = None
) -> RolloutEvidence:
    """What was seen, as an entry keeps it."""
    said = answers(rollout.terms.policy, counts, labels)
    seen = {"counts": counts, "labels": labels, "labels_sha256": labels_sha256, "answers": said}
    return rollout.stands.model_copy(update={**seen, "terms": None})
