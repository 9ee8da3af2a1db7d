"""A rollout goes on, one pass at a time: whoever looks, whenever, wherever, does what the ledger and the counts say; and what a person says."""

import datetime
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from tasks.errors import RefusedError, UserError
from tasks.promotion.carrying import decide as claim_and_carry_out
from tasks.promotion.carrying import tell_rollout
from tasks.promotion.champion import model_lock, promote, repair
from tasks.promotion.entries import Action, Ledger, LedgerEntry
from tasks.promotion.ledger import StaleError, in_short
from tasks.promotion.permits import Reverted, may_serve, restore, reverted
from tasks.promotion.rollouts import BY_EVIDENCE, Rollout, last_rollout, open_rollout
from tasks.records import Metric, Version
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.decision import Decision, Place, Pod, decide
from tasks.rollout.evidence import RolloutEvidence
from tasks.rollout.guards import answers, harms, surely
from tasks.rollout.reported import PodReport, read_reports
from tasks.settings import Settings
from tasks.system.frozen import Frozen
from tasks.traffic.pairs import label_counts


class Standing(Frozen):
    """A model's rollout as it stands, what was seen of it until now, and what follows."""

    model: str
    status: Literal["rolling", "paused", "ended"]
    run: str
    old: int
    new: int
    step: int
    steps: tuple[float, ...]
    since: datetime.datetime
    counts: Counts
    labels: LabelCounts | None = None
    pods: Mapping[str, Pod] = {}
    decision: Decision
    entries: tuple[LedgerEntry, ...]
    made: LedgerEntry | None = Field(None, description="What this pass decided.")

    @property
    def weight(self) -> float:
        return self.steps[self.step]


def advance(settings: Settings, model: str, now: datetime.datetime | None = None) -> Standing | None:
    """One pass: finish what was claimed, make the record what the ledger says, look, and do what follows; None without a rollout.

    Any number of processes may do this at once, and any may be killed at any moment: each step is made once.
    """
    registry = Registry(settings)
    check_model(registry, model)
    with model_lock(settings, model):
        ledger = repair(registry, model)
        tell_rollout(registry, ledger)
        going_on = open_rollout(ledger.entries)
        if going_on is None:
            return standing(registry, ledger, now)
        try:
            made = _pass(registry, ledger, going_on, now or datetime.datetime.now(datetime.UTC))
        except StaleError:  # another decided at the same moment: the next pass begins where that one ended
            made = None
        after = repair(registry, model) if made is not None else ledger
        seen = standing(registry, after, now)
    return None if seen is None else seen.model_copy(update={"made": made})


def standing(registry: Registry, ledger: Ledger, now: datetime.datetime | None = None) -> Standing | None:
    """How the last rollout stands by `ledger`, and what its counts of now say; nothing is changed."""
    rollout = last_rollout(ledger.entries)
    if rollout is None:
        return None
    seen, now = rollout.stands, now or datetime.datetime.now(datetime.UTC)
    reports = read_reports(registry.run_tags(seen.run))
    counts, labels = _total(reports), seen.labels
    decision = Decision(action="stay", why=rollout.last.why, answers=seen.answers)
    if rollout.ended:
        counts = seen.counts
    else:
        labels = _labels(registry, rollout, now)
        decision = decide(rollout.terms.policy, place_of(rollout, reports, now), counts, labels, now)
    return Standing(
        model=ledger.model,
        status="ended" if rollout.ended else "paused" if rollout.paused else "rolling",
        run=seen.run,
        old=rollout.terms.old,
        new=rollout.terms.new,
        step=seen.step,
        steps=rollout.terms.policy.steps,
        since=rollout.stepped.at,
        counts=counts,
        labels=labels,
        pods={name: Pod(age=now - each.at, sequence=each.sequence) for name, each in reports.items()},
        decision=decision,
        entries=rollout.entries,
    )


def place_of(rollout: Rollout, reports: Mapping[str, PodReport], now: datetime.datetime) -> Place:
    """Where a rollout stands, by the ledger and what pods reported."""
    stepped = rollout.stepped
    assert stepped.rollout is not None
    return Place(
        step=rollout.stands.step,
        sequence=rollout.last.sequence,
        began=rollout.start.at,
        stepped=stepped.at,
        last=rollout.last.at,
        then=stepped.rollout.counts,
        paused=rollout.paused,
        pods={name: Pod(age=now - each.at, sequence=each.sequence) for name, each in reports.items()},
    )


def _pass(
    registry: Registry, ledger: Ledger, going_on: Rollout, now: datetime.datetime
) -> LedgerEntry | None:
    version = registry.version(ledger.model, going_on.terms.new)
    if version is None:
        gone = f"version {going_on.terms.new} was deleted from the registry"
        return _go_on(registry, ledger, "abort", going_on.stands, why=gone, who=BY_EVIDENCE, verdict="fail")
    if may_serve(registry, ledger, version) is not None:
        restore(registry, ledger, version)
    if (note := reverted(registry, version, going_on.stands.run)) is not None:
        return _brake(registry, ledger, going_on, note)
    seen = standing(registry, ledger, now)
    assert seen is not None
    evidence = _evidence(going_on, seen)
    if seen.decision.answers:
        _log(registry, evidence, now)
    why, action = in_short([seen.decision.why]), seen.decision.action
    if action == "step":
        step = evidence.step + 1
        further = evidence.model_copy(update={"step": step, "weight": seen.steps[step]})
        return _go_on(registry, ledger, "step", further, why=why, who=BY_EVIDENCE, verdict="pass")
    if action == "abort":
        return _go_on(registry, ledger, "abort", evidence, why=why, who=BY_EVIDENCE, verdict="fail")
    if action == "promote":
        against = going_on.terms.old
        return promote(
            registry, version, against=against, why=why, who=BY_EVIDENCE, verdict="pass", rollout=evidence
        )
    return None


def _brake(registry: Registry, ledger: Ledger, going_on: Rollout, note: Reverted) -> LedgerEntry:
    """A server went back, and all with it: the entry has that server's counts, which have to bear it out alone (see `replay`)."""
    policy, counts = going_on.terms.policy, note.counts or Counts()
    evidence = going_on.stands.model_copy(
        update={"counts": counts, "labels": None, "answers": answers(policy, counts, None), "terms": None}
    )
    why = in_short([f"servers went back from it: {note.reason}"])
    return _go_on(registry, ledger, "abort", evidence, why=why, who=note.by, verdict="fail")


def pause(settings: Settings, model: str, *, why: str, who: str | None = None) -> LedgerEntry:
    """Nobody is routed to the new version, and nothing is compared, until it is resumed; its entry."""
    return _said(settings, model, "pause", why=why, who=who)


def resume(settings: Settings, model: str, *, why: str, who: str | None = None) -> LedgerEntry:
    """Go on from where it was paused; its entry."""
    return _said(settings, model, "resume", why=why, who=who)


def abort(settings: Settings, model: str, *, why: str, who: str | None = None) -> LedgerEntry:
    """End it: the champion answers everybody, as before; its entry."""
    return _said(settings, model, "abort", why=why, who=who)


def finish(settings: Settings, model: str, *, why: str, who: str | None = None) -> LedgerEntry:
    """Make the new version the champion now, on a person's word. Raises RefusedError while it is surely worse."""
    return _said(settings, model, "finish", why=why, who=who)


def _said(settings: Settings, model: str, action: Action, *, why: str, who: str | None) -> LedgerEntry:
    registry = Registry(settings)
    check_model(registry, model)
    with model_lock(settings, model):
        return said(registry, repair(registry, model), action, why=why, who=who)


def said(
    registry: Registry, ledger: Ledger, action: Action, *, why: str, who: str | None = None
) -> LedgerEntry:
    """What a person decides about the rollout that is open by `ledger`; its entry. The caller holds the model's lock."""
    going_on = open_rollout(ledger.entries)
    if going_on is None:
        raise UserError(
            f"No rollout of {ledger.model} is open: `slipway history {ledger.model}` shows the last one's end."
        )
    if (action == "pause" and going_on.paused) or (action == "resume" and not going_on.paused):
        stands = "paused already" if going_on.paused else "not paused"
        raise UserError(f"The rollout of {ledger.model} version {going_on.terms.new} is {stands}.")
    version = registry.version(ledger.model, going_on.terms.new)
    note = reverted(registry, version, going_on.stands.run) if version is not None else None
    if note is not None:
        _brake(registry, ledger, going_on, note)
        raise RefusedError(
            f"The rollout of {ledger.model} version {going_on.terms.new} is over: servers went back from it: {note.reason}"
        )
    seen = standing(registry, ledger)
    assert seen is not None
    evidence = _evidence(going_on, seen)
    if action == "finish" and (worse := harms(evidence.answers)):
        margin, labels = going_on.terms.policy.margin, evidence.labels or LabelCounts()
        raise RefusedError(
            f"{ledger.model} version {going_on.terms.new} is not finished, on nobody's word: "
            f"{' '.join(surely(answer, margin, evidence.counts, labels) for answer in worse)} "
            f"It goes back with the next pass, or now: `slipway rollout {ledger.model} abort`."
        )
    return _go_on(registry, ledger, action, evidence, why=why, who=who, verdict="inconclusive")


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
    evidence = evidence.model_copy(update={"terms": None})
    return claim_and_carry_out(
        registry, ledger, action, version, why=why, who=who, verdict=verdict, rollout=evidence
    )


def _evidence(rollout: Rollout, seen: Standing) -> RolloutEvidence:
    """What was seen, as an entry keeps it."""
    stands = rollout.stands
    return RolloutEvidence(
        run=stands.run,
        step=stands.step,
        weight=stands.weight,
        policy=rollout.start.rollout.policy if rollout.start.rollout else stands.policy,
        counts=seen.counts,
        labels=seen.labels,
        answers=seen.decision.answers or answers(rollout.terms.policy, seen.counts, seen.labels),
    )


def _total(reports: Mapping[str, PodReport]) -> Counts:
    total = Counts()
    for report in reports.values():
        total += report.counts
    return total


def _labels(registry: Registry, rollout: Rollout, now: datetime.datetime) -> LabelCounts | None:
    policy = rollout.terms.policy
    if policy.margin.score is None:
        return None
    return label_counts(registry.settings, rollout.start.model, rollout.record, policy, now)


def _log(registry: Registry, evidence: RolloutEvidence, now: datetime.datetime) -> None:
    """The wealth of every bet, for MLflow's curves, by the number of pairs."""
    at, pairs = round(now.timestamp() * 1000), evidence.counts.pairs
    metrics = [
        Metric(key=f"{each.question}/{each.guard}", value=each.log_wealth, step=pairs, timestamp=at)
        for each in evidence.answers
    ]
    registry.log_metrics(evidence.run, metrics)
