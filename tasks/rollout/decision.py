"""What follows from the evidence: to stay, to go a step up, to promote, to go back, to ask. Pure: the same counts, the same decision."""

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.evalue import planned
from tasks.rollout.evidence import Answer, Guard
from tasks.rollout.guards import Bet, answers, bets, harms, lacking, surely, told
from tasks.rollout.policy import RolloutPolicy
from tasks.system.frozen import Frozen

Action = Literal["stay", "step", "promote", "abort", "ask"]

SILENT = datetime.timedelta(minutes=2)
"""A pod that has not reported for so long holds the rollout."""

GONE = datetime.timedelta(minutes=15)
"""And after so long it is taken as gone, so that a killed one does not hold it for ever."""

EXPECTED = 20
"""Observations that what is expected of equal versions weighs in a plan, so that the first few that come do not make it."""

_NONE = datetime.timedelta()
_DAY = datetime.timedelta(days=1)
_FOREVER = datetime.timedelta(days=36_500)


class Pod(Frozen):
    """What is known of one process that serves the model."""

    age: datetime.timedelta = Field(description="Since its last report.")
    sequence: int = Field(description="Of the rollout's record that it obeyed then.")


class Place(Frozen):
    """Where a rollout stands, by the ledger and the pods' reports. Times have a zone."""

    step: int = Field(ge=0, description="In the policy's steps.")
    sequence: int = Field(ge=1, description="Of the record that pods should obey.")
    began: datetime.datetime
    stepped: datetime.datetime = Field(description="When this step began.")
    last: datetime.datetime = Field(description="The ledger's last entry.")
    then: Counts = Field(Counts(), description="When this step began.")
    paused: bool = False
    pods: Mapping[str, Pod] = {}


class ToGo(Frozen):
    """What a guard needs more until it is surely within its margin, if what comes is as what came; None: not at that rate."""

    guard: Guard
    pairs: int | None = Field(description="Of the score: pairs past the horizon.")
    labels: int | None = Field(None, description="Of those pairs, the ones that differ.")


class Decision(Frozen):
    """What to do now, and the sentences that say why."""

    action: Action
    why: str
    answers: tuple[Answer, ...] = ()
    to_go: tuple[ToGo, ...] = Field((), description="Of every guard that is not surely within its margin.")


def decide(
    policy: RolloutPolicy, place: Place, counts: Counts, labels: LabelCounts | None, now: datetime.datetime
) -> Decision:
    """What follows for a rollout at `place` of which `counts` were seen from its start; `labels` are of pairs past the horizon."""
    labels = labels or LabelCounts()
    given = answers(policy, counts, labels)
    view = _View(policy, place, counts, labels, now, given, tuple(_plans(policy, counts, labels, given)))
    action, why = view.action()
    return Decision(action=action, why=" ".join(why), answers=given, to_go=view.to_go)


def _plans(
    policy: RolloutPolicy, counts: Counts, labels: LabelCounts, given: tuple[Answer, ...]
) -> Iterator[ToGo]:
    unsure = {answer.guard for answer in given if answer.question == "within" and not answer.sure}
    for bet in bets(policy.margin, counts, labels):
        if bet.question == "within" and bet.guard in unsure:
            yield _to_go(policy, bet, counts)


def _to_go(policy: RolloutPolicy, bet: Bet, counts: Counts) -> ToGo:
    """At the shares that were seen, and before there are any at those of a version that is as good."""
    apart = 1 - counts.agreed / counts.timed if counts.timed >= EXPECTED else 0.05
    of_equals: dict[Guard, dict[int, float]] = {
        "errors": {0: 1, 1: 0},
        "slower": {0: 0.8, 1: 0.2},
        "tail": {-1: 0, 0: 1, 1: 0},
        "score": {-1: apart / 2, 0: 1 - apart, 1: apart / 2},
    }
    alike = of_equals[bet.guard]
    rows = sum(bet.seen.values())
    shares = {
        value: (bet.seen[value] + EXPECTED * share) / (rows + EXPECTED) for value, share in alike.items()
    }
    pairs = planned(shares, bet.mean, bet.side, policy.alpha, bet.seen) if bet.enough or not rows else None
    labels = None if pairs is None or bet.guard != "score" else math.ceil(pairs * (1 - shares[0]))
    return ToGo(guard=bet.guard, pairs=pairs, labels=labels)


class _View(NamedTuple):
    policy: RolloutPolicy
    place: Place
    counts: Counts
    labels: LabelCounts
    now: datetime.datetime
    answers: tuple[Answer, ...]
    to_go: tuple[ToGo, ...]

    def action(self) -> tuple[Action, list[str]]:
        policy, place = self.policy, self.place
        if self.now < place.last:
            behind = _span(place.last - self.now)
            return "stay", [
                f"This clock is {behind} behind the ledger's last entry: nothing is decided by it."
            ]
        if place.paused:
            return "stay", ["It is paused."]
        if worse := harms(self.answers):
            return "abort", self.surely(worse)
        lacks = lacking(policy, place.step, self.answers)
        if reasons := [*self.unshown({answer.guard for answer in lacks}), *self.held()]:
            if self.now - place.began >= policy.patience:
                return "ask", [f"The patience of {_span(policy.patience)} is over.", *reasons]
            return "stay", [*reasons, *self.too_slow()]
        shown = [answer for answer in self.answers if answer.question == "within" and answer.sure]
        return "promote" if place.step + 1 == len(policy.steps) else "step", self.surely(shown)

    def surely(self, given: Sequence[Answer]) -> list[str]:
        return [surely(answer, self.policy.margin, self.counts, self.labels) for answer in given]

    def unshown(self, asked: set[Guard]) -> Iterator[str]:
        """What the way up from here asks for and has not."""
        for plan in self.to_go:
            if plan.guard not in asked:
                continue
            seen = f"Not shown yet ({plan.guard}): {told(plan.guard, self.policy.margin, self.counts, self.labels)}"
            if plan.guard == "score" and (refusal := self._labels_that_cannot_prove()):
                yield refusal
            elif plan.pairs is None:
                yield f"{seen}; at this rate it never will be."
            elif plan.labels is None:
                yield f"{seen}; about {plan.pairs:,} pairs to go."
            else:
                yield f"{seen}; about {plan.pairs:,} pairs to go, {plan.labels:,} of them with a label."

    def _labels_that_cannot_prove(self) -> str | None:
        margin, labels = self.policy.margin.score, self.labels
        if margin is None or not labels.missing or labels.missing < margin / 2 * labels.pairs:
            return None
        return (
            f"These labels cannot prove the score: of {labels.pairs:,} pairs {labels.apart / labels.pairs:.2%} differ, and "
            f"{labels.missing / labels.apart:.1%} of those have no label after {_span(self.policy.horizon)}; together that "
            f"has to be below {margin / 2:.2%}, half the margin."
        )

    def held(self) -> Iterator[str]:
        """What keeps it at this step, whatever was seen."""
        pods = {name: pod for name, pod in self.place.pods.items() if pod.age < GONE}
        silent = sorted(name for name, pod in pods.items() if pod.age > SILENT)
        older = sorted(name for name, pod in pods.items() if pod.sequence < self.place.sequence)
        if len(silent) == len(pods):
            yield f"No server has reported for {_span(SILENT)}: it goes no further up."
        elif silent:
            yield f"Not heard of for {_span(SILENT)} (or a clock is behind): {_names(silent)}; after {_span(GONE)} it counts as gone."
        if older:
            yield f"Not at this step yet: {_names(older)}."
        rest = self.place.stepped + datetime.timedelta(minutes=self.policy.hold.minutes) - self.now
        if rest > _NONE:
            yield f"It stays at this step for {_span(rest)} more."
        if (more := self.policy.hold.requests - self._came()) > 0:
            yield f"It stays at this step for {more:,} more {'requests' if self._weight() else 'pairs'}."

    def too_slow(self) -> Iterator[str]:
        """That a person will be asked: as soon as the rate of what comes says so, and not when the patience is over."""
        settled = datetime.timedelta(minutes=max(self.policy.hold.minutes, 1))
        past, here = self.now - self.place.began, self.now - self.place.stepped
        waits = [self._wait(plan, past) for plan in self.to_go if past >= settled]
        if here >= settled:
            waits.append(_lasts(self.policy.hold.requests - self._came(), self._came(), here))
        longest, left = max(waits, default=_NONE), self.policy.patience - past
        if longest > left:
            rate = f"{self.counts.pairs / (past / _DAY):,.0f} pairs a day"
            long = "never ends" if longest >= _FOREVER else f"takes about {_span(longest)} more"
            yield f"At {rate} this {long}, and in {_span(left)} a person is asked."

    def _wait(self, plan: ToGo, past: datetime.timedelta) -> datetime.timedelta:
        if plan.pairs is None:
            return _FOREVER
        if plan.guard != "score":
            return _lasts(plan.pairs, self.counts.pairs, past)
        young = self.counts.pairs - self.labels.pairs
        return min(_lasts(plan.pairs - young, self.counts.pairs, past) + self.policy.horizon, _FOREVER)

    def _weight(self) -> float:
        return self.policy.steps[self.place.step]

    def _came(self) -> int:
        then = self.place.then
        return self.counts.requests - then.requests if self._weight() else self.counts.pairs - then.pairs


def _lasts(more: int, came: int, past: datetime.timedelta) -> datetime.timedelta:
    """How long until so many more come, at the rate of those that came, or of one where none did."""
    days = max(more, 0) / max(came, 1) * (past / _DAY)
    return datetime.timedelta(days=min(days, _FOREVER.days))


def _names(pods: list[str]) -> str:
    return ", ".join(pods[:3]) + (f" and {len(pods) - 3} more" if len(pods) > 3 else "")


def _span(length: datetime.timedelta) -> str:
    seconds = length.total_seconds()
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
