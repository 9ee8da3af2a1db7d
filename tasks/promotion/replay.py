"""A rollout's decisions made again from what the ledger kept: every bet from its counts, every decision from its bets."""

import datetime
from collections.abc import Iterator
from typing import NamedTuple

from tasks.promotion.entries import LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.promotion.rollouts import BY_EVIDENCE, Rollout, each_decision
from tasks.registry.registry import Registry
from tasks.rollout.decision import Pod, decide
from tasks.rollout.evidence import RolloutEvidence
from tasks.rollout.guards import answers, failing, harms
from tasks.settings import Settings
from tasks.system.frozen import Frozen
from tasks.system.sentences import some
from tasks.system.signing import EvidenceError
from tasks.traffic.pairs import labelled

_SAME = 1e-9

_NONE = datetime.timedelta()


class Replayed(Frozen):
    """What was recomputed, and what should be known of it."""

    entries: int = 0
    recounted: int = 0
    notes: tuple[str, ...] = ()


class _Said(NamedTuple):
    text: str
    wrong: bool


def replay(registry: Registry, model: str) -> Replayed:
    """Recompute every entry of the model's rollouts. Raises EvidenceError naming what does not come out again, or a ledger that is not whole."""
    ledger = read_ledger(registry, model, whole=True)
    entries, recounted = 0, 0
    problems, notes = [*ledger.problems], []
    for entry, before in each_decision(ledger.entries):
        if entry.rollout is None or before is None:
            continue
        entries += 1
        said = [*_bets(entry, entry.rollout, before), *_decided(entry, entry.rollout, before)]
        counted = _counted_again(registry.settings, entry, entry.rollout, before)
        recounted += counted is None and entry.rollout.labels is not None
        said += [] if counted is None else [counted]
        problems += [each.text for each in said if each.wrong]
        notes += [each.text for each in said if not each.wrong]
    if problems:
        raise EvidenceError(
            f"{model}: replayed, its rollouts do not come out again: {some(problems, 3)}.", "replay"
        )
    return Replayed(entries=entries, recounted=recounted, notes=tuple(notes))


def _bets(entry: LedgerEntry, evidence: RolloutEvidence, before: Rollout) -> Iterator[_Said]:
    """Each answer as its counts give it."""
    again = answers(before.terms.policy, evidence.counts, evidence.labels)
    if [(each.guard, each.question) for each in again] != [(e.guard, e.question) for e in evidence.answers]:
        yield _Said(f"{entry} does not answer what its policy asks", wrong=True)
        return
    for kept, made in zip(evidence.answers, again, strict=True):
        same = abs(kept.log_wealth - made.log_wealth) <= _SAME
        if not same or kept.model_copy(update={"log_wealth": made.log_wealth}) != made:
            stands, comes = (
                f"log wealth {each.log_wealth:.9f} at {each.mean} of {each.bound}" for each in (kept, made)
            )
            yield _Said(
                f"{entry}: {kept.guard}, {kept.question}: {stands}, and its counts give {comes}", wrong=True
            )


def _decided(entry: LedgerEntry, evidence: RolloutEvidence, before: Rollout) -> Iterator[_Said]:
    """Whether the decision follows; of what a person decided, only that nothing harmful was finished."""
    policy = before.terms.policy
    if entry.who == BY_EVIDENCE and entry.verdict != "inconclusive" and evidence.answers:
        place = before.place({"those of then": Pod(age=_NONE, sequence=before.last.sequence)})
        decision = decide(policy, place, evidence.counts, evidence.labels, entry.at)
        if decision.action != entry.action:
            yield _Said(
                f"{entry} does not follow from its counts, by which the decision is to {decision.action}: {decision.why}",
                wrong=True,
            )
    elif entry.action == "finish" and harms(evidence.answers):
        yield _Said(f"{entry} finished what was surely harmful", wrong=True)
    elif (
        entry.action == "abort"
        and entry.verdict == "fail"
        and failing(evidence.counts, policy.margin) is None
    ):
        yield _Said(
            f"{entry} rests on the word of {entry.who}: the counts that it gave do not bear it out",
            wrong=False,
        )


def _counted_again(
    settings: Settings, entry: LedgerEntry, evidence: RolloutEvidence, before: Rollout
) -> _Said | None:
    """The labels of then, where traffic and labels are there still."""
    kept = evidence.labels
    if kept is None or kept.pairs == 0:
        return None
    again, sha256 = labelled(settings, entry.model, before.record, before.terms.policy, entry.at, anew=True)
    if again.pairs < kept.pairs:
        return _Said(f"{entry} is recomputed from the entries alone: traffic of then is gone", wrong=False)
    if (again, sha256) != (kept, evidence.labels_sha256):
        return _Said(f"{entry} has {kept}, and traffic and labels of then give {again}", wrong=True)
    return None
