"""What each guard asks of the counts, of a fleet's for the rollout and of a process's own for its brake."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.evalue import Seen, Side, log_wealth
from tasks.rollout.evidence import Answer, Guard, Question
from tasks.rollout.policy import Margins, RolloutPolicy

FEWEST_FAILURES = 3
"""One failure on the first request wins a bet on 0.2%, and convinces nobody."""

BRAKE = 1e4
"""Wealth at which a process alone reverts: a hundred of them together use up a fifth of an alpha of 5%."""

SHARES = 5
"""Of alpha, for harm: four guards, and the processes' own brakes."""


class Bet(NamedTuple):
    """A question as the kernel takes it: whether the mean of what was seen is surely on that side of `mean`."""

    guard: Guard
    question: Question
    seen: Mapping[int, Any]
    mean: float
    side: Side
    enough: Any = True


def bets(margin: Margins, counts: Any, labels: Any) -> Iterator[Bet]:
    """Both questions of every guard. `counts` and `labels` are Counts and LabelCounts, or have arrays in place of integers."""
    failures = counts.failed + counts.rescued
    errors = {0: counts.requests + counts.pairs - counts.served - failures, 1: failures}
    slower = {0: counts.timed - counts.slow, 1: counts.slow}
    usual = counts.timed - counts.tail_worse - counts.tail_better
    tail = {-1: counts.tail_better, 0: usual, 1: counts.tail_worse}
    yield Bet("errors", "harmful", errors, margin.errors, "above", failures >= FEWEST_FAILURES)
    yield Bet("errors", "within", errors, margin.errors, "below")
    yield Bet("slower", "harmful", slower, 0.5, "above")
    yield Bet("slower", "within", slower, 0.5, "below")
    yield Bet("tail", "harmful", tail, margin.tail, "above")
    yield Bet("tail", "within", tail, margin.tail, "below")
    if margin.score is None:
        return
    # A difference without a label is none where one would harm, and lost where one would help: nobody gains by labels that stay away.
    even = labels.agreed + labels.neither
    pairs = even + labels.better + labels.worse + labels.missing
    harm = {-1: labels.worse, 0: even + labels.missing, 1: labels.better}
    measured = labels.worse - labels.better >= margin.score * pairs
    yield Bet("score", "harmful", harm, 0.0, "below", measured)
    proof = {-1: labels.worse + labels.missing, 0: even, 1: labels.better}
    provable = labels.missing < margin.score / 2 * pairs
    yield Bet("score", "within", proof, -margin.score, "above", provable)


def answers(policy: RolloutPolicy, counts: Counts, labels: LabelCounts | None) -> tuple[Answer, ...]:
    """Both questions of every guard that the policy has, from counts alone: what the ledger keeps, and what a replay makes anew."""
    alphas: dict[Question, float] = {"harmful": policy.alpha / SHARES, "within": policy.alpha}
    return tuple(
        Answer(
            guard=bet.guard,
            question=bet.question,
            mean=_mean(bet.seen),
            bound=bet.mean,
            alpha=alphas[bet.question],
            log_wealth=log_wealth(bet.seen, bet.mean, bet.side),
            enough=bool(bet.enough),
        )
        for bet in bets(policy.margin, counts, labels or LabelCounts())
    )


def harms(given: tuple[Answer, ...]) -> tuple[Answer, ...]:
    """The guards that say to go back; while there are any, no person may finish the rollout either."""
    return tuple(answer for answer in given if answer.question == "harmful" and answer.sure)


def lacking(policy: RolloutPolicy, step: int, given: tuple[Answer, ...]) -> tuple[Answer, ...]:
    """What the way up from this step asks for and is not sure yet: the score before the last step, and before the champion."""
    asked = {"errors", "slower", "tail"} | ({"score"} if step >= len(policy.steps) - 2 else set())
    return tuple(a for a in given if a.question == "within" and a.guard in asked and not a.sure)


def failing(counts: Counts, margin: Margins) -> str | None:
    """Why a process goes back by itself, in a sentence, from its own counts; None: it does not.

    The guards' wealth is one, their mean, so that they share one bound. Labels are none of a server's matter.
    """
    asked = [bet for bet in bets(margin.model_copy(update={"score": None}), counts, None) if bet.enough]
    logs = {bet.guard: log_wealth(bet.seen, bet.mean, bet.side) for bet in asked if bet.question == "harmful"}
    worst = max(logs, key=lambda guard: logs[guard])
    mean = math.fsum(math.exp(log - logs[worst]) for log in logs.values()) / 3
    log = logs[worst] + math.log(mean)
    if log < math.log(BRAKE):
        return None
    return f"Surely harmful ({worst}): {told(worst, margin, counts, LabelCounts())}, e = {_e(log)} where {BRAKE:,.0f} is enough."


def told(guard: Guard, margin: Margins, counts: Counts, labels: LabelCounts) -> str:
    """What was seen, and what is allowed."""
    if guard == "score":
        net = _percent(labels.better - labels.worse, labels.pairs)
        return (
            f"it alone was right in {labels.better:,} and wrong in {labels.worse:,} of {labels.pairs:,} pairs past the horizon, "
            f"{labels.missing:,} have no label ({net} net, allowed {_percent(-(margin.score or 0))})"
        )
    if guard == "errors":
        failures, rows = counts.failed + counts.rescued, counts.requests + counts.pairs - counts.served
        return (
            f"it failed {failures:,} of {rows:,} requests that the other version answered "
            f"({_percent(failures, rows)}, allowed {_percent(margin.errors)})"
        )
    if guard == "slower":
        return (
            f"{counts.slow:,} of {counts.timed:,} pairs took more than {margin.slower:g} times the CPU time "
            f"({_percent(counts.slow, counts.timed)}, allowed half)"
        )
    net = _percent(counts.tail_worse - counts.tail_better, counts.timed)
    return (
        f"{counts.tail_worse:,} of {counts.timed:,} pairs took more than {2 * margin.slower:g} times the CPU time and "
        f"{counts.tail_better:,} less than {margin.slower / 2:g} times ({net} net, allowed {_percent(margin.tail)})"
    )


def surely(answer: Answer, margin: Margins, counts: Counts, labels: LabelCounts) -> str:
    """The sentence of an answer that is sure, with its figures."""
    word = "harmful" if answer.question == "harmful" else "within the margin"
    seen = told(answer.guard, margin, counts, labels)
    return f"Surely {word} ({answer.guard}): {seen}, e = {_e(answer.log_wealth)} where {1 / answer.alpha:.0f} is enough."


def _mean(seen: Seen) -> float | None:
    rows = sum(seen.values())
    return sum(value * count for value, count in seen.items()) / rows if rows else None


def _percent(part: float, whole: float = 1) -> str:
    return f"{100 * part / whole:.3g}%" if whole else "none"


def _e(log: float) -> str:
    return f"{math.exp(log):,.0f}" if log < math.log(1e6) else f"10^{log / math.log(10):.0f}"
