"""How a rollout stands, for people: a table of its guards with what is still to go, and a picture of what is not ruled out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.reporting.charts import BLUE, GREY, RED, canvas
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.decision import ToGo
from tasks.rollout.evalue import interval
from tasks.rollout.evidence import Answer, Guard
from tasks.rollout.guards import bets, told
from tasks.rollout.policy import RolloutPolicy

_TITLES: Mapping[Guard, str] = {
    "score": "score, new less old",
    "errors": "share of requests that only the new one fails",
    "slower": "share of pairs beyond the allowed ratio of CPU times",
}


class Point(NamedTuple):
    """A guard's mean as it stood after so many pairs, and what was not ruled out then."""

    pairs: int
    low: float
    mean: float
    high: float


def guard_rows(
    policy: RolloutPolicy,
    counts: Counts,
    labels: LabelCounts | None,
    answers: Sequence[Answer],
    to_go: Sequence[ToGo],
) -> list[dict[str, str]]:
    """A row a guard: what was seen, how sure either answer is, and what is still to go."""
    plans = {plan.guard: plan for plan in to_go}
    rows = []
    for guard in dict.fromkeys(answer.guard for answer in answers):
        asked = {answer.question: answer for answer in answers if answer.guard == guard}
        plan = plans.get(guard)
        rows.append(
            {
                "guard": guard,
                "seen": told(guard, policy.margin, counts, labels or LabelCounts()),
                "harmful": _sure(asked["harmful"]),
                "within the margin": _sure(asked["within"]),
                "still to go": "nothing" if plan is None else _plan(plan),
            }
        )
    return rows


def _sure(answer: Answer) -> str:
    e_value = f"e = {math.exp(min(answer.log_wealth, 700)):,.3g} of {1 / answer.alpha:,.0f}"
    return f"yes, {e_value}" if answer.sure else e_value


def _plan(plan: ToGo) -> str:
    if plan.pairs is None:
        return "at this rate it never will be shown"
    labels = "" if plan.labels is None else f", {plan.labels:,} of them with a label"
    return f"about {plan.pairs:,} pairs{labels}"


def intervals(policy: RolloutPolicy, counts: Counts, labels: LabelCounts | None) -> dict[Guard, Point]:
    """What is not ruled out of each guard's mean now, at all looks together; a label that is missing counts both ways."""
    made: dict[Guard, Point] = {}
    asked = {(bet.guard, bet.question): bet for bet in bets(policy.margin, counts, labels or LabelCounts())}
    for guard in dict.fromkeys(guard for guard, _ in asked):
        harm, within = asked[guard, "harmful"], asked[guard, "within"]
        rows = sum(harm.seen.values())
        if rows:
            mean = sum(value * count for value, count in harm.seen.items()) / rows
            low = min(interval(bet.seen, policy.alpha)[0] for bet in (harm, within))
            high = max(interval(bet.seen, policy.alpha)[1] for bet in (harm, within))
            made[guard] = Point(int(rows), low, mean, high)
    return made


def picture(
    policy: RolloutPolicy, history: Mapping[Guard, Sequence[Point]], steps: Sequence[tuple[int, float]]
) -> str:
    """An inline SVG: what is not ruled out after so many pairs, the margin and the champion as lines, steps (pairs, weight) as ticks."""
    bounds: dict[Guard, tuple[float, float]] = {
        "score": (-(policy.margin.score or 0.0), 0.0),
        "errors": (policy.margin.errors, 0.0),
        "slower": (0.5, 0.5),
    }
    shown = [guard for guard in bounds if history.get(guard)]
    with canvas(7, 0.4 + 1.9 * max(1, len(shown)), rows=max(2, len(shown))) as drawing:
        panels = list(drawing.axes[:, 0])
        for axes, guard in zip(panels, shown, strict=False):
            _panel(axes, _TITLES[guard], list(history[guard]), *bounds[guard], steps)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        panels[max(0, len(shown) - 1)].set_xlabel("pairs (ticks above: steps; dotted: the margin)")
    return drawing.svg.replace("<svg", '<svg style="background:#fff"', 1)


def _panel(
    axes: Any,
    title: str,
    points: list[Point],
    margin: float,
    even: float,
    steps: Sequence[tuple[int, float]],
) -> None:
    points.sort()
    pairs = [point.pairs for point in points]
    axes.fill_between(pairs, [p.low for p in points], [p.high for p in points], color=BLUE, alpha=0.18, lw=0)
    axes.plot(pairs, [p.mean for p in points], color=BLUE, lw=1.2, marker="o", ms=2.5)
    axes.axhline(even, color=GREY, lw=0.8)
    axes.axhline(margin, color=RED, lw=0.9, ls=":")
    span = max((abs(p.mean - even) for p in points[-20:]), default=0.0)
    reach = 4 * max(span, abs(margin - even), (points[-1].high - points[-1].low) / 3)
    axes.set_ylim(max(even - reach, -1.0 if even > margin else 0.0), min(even + reach, 1.0))
    axes.set_title(title, fontsize=9, loc="left")
    marks = axes.secondary_xaxis("top")
    marks.set_xticks(
        [at for at, _ in steps],
        [f"{100 * weight:g}%" if weight else "shadow" for _, weight in steps],
        fontsize=7,
    )
    marks.spines["top"].set_visible(False)


def curves(points: Mapping[Guard, Point]) -> Iterator[tuple[str, float, int]]:
    """(name, value, pairs) of each guard's interval, as MLflow keeps its history."""
    for guard, point in points.items():
        for part in ("low", "mean", "high"):
            yield f"{guard}/{part}", getattr(point, part), point.pairs
