"""Drift, and a past that was replayed, as pictures; on white, for dark pages."""

from collections.abc import Iterable, Sequence

from tasks.monitoring.backfill import Period
from tasks.monitoring.watched import ColumnDrift
from tasks.reporting.charts import BLUE, GREEN, GREY, MOST_SLICES, RED, canvas, lines

_MARKS = {"promoted": ("o", GREEN), "inconclusive": ("D", "#c98a00"), "refused": ("X", RED)}

_ON_WHITE = '<svg style="background:#fff"'


def drifts(columns: Sequence[ColumnDrift], threshold: float) -> str:
    """The population stability index of the most drifted columns, and from where it counts."""
    shown = columns[:MOST_SLICES]
    label = f"PSI, served against training rows (red: drifted; dotted: {threshold:g})"
    with lines([column.name for column in shown], label) as drawing:
        colours = [RED if column.drifted else GREY for column in shown]
        values = [column.psi for column in shown]
        drawing.axes.barh(range(len(shown)), values, color=colours, alpha=0.8, height=0.7)
        drawing.axes.axvline(threshold, color="#30343a", lw=0.8, ls=":")
    return drawing.svg.replace("<svg", _ON_WHITE, 1)


def replayed(periods: Sequence[Period], score_name: str, title: str) -> str:
    """Each period's score of what served, of the version that was retrained for it, with what the gate decided, and of the first champion."""
    places = range(len(periods))
    serving = _heights(period.serving_score for period in periods)
    with canvas(9, 4.4) as drawing:
        axes = drawing.axes
        first = _heights(period.first_score for period in periods)
        axes.plot(places, serving, "-", color=BLUE, label="champion", marker=".", ms=4)
        axes.plot(places, first, "--", color=GREY, label="never retrained: the first champion", marker=".", ms=4)  # fmt: skip
        for decision, (marker, colour) in _MARKS.items():
            there = [place for place in places if periods[place].decision == decision]
            label = f"retrained, {decision} ({len(there)} of {len(periods)})"
            heights = _heights(periods[place].score for place in there)
            axes.plot(there, heights, marker, color=colour, ms=8, ls="none", label=label, zorder=3)
        for place, period in enumerate(periods):
            said = f"v{period.serving}" if period.decision == "promoted" else f"v{period.serving} stays"
            axes.annotate(said, (place, serving[place]), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
        axes.set_xticks(places, [f"{period.since}" for period in periods], rotation=30, ha="right")
        axes.set(ylabel=f"{score_name} on the rows until the next", xlabel="retrained on all rows before", title=title)  # fmt: skip
        axes.margins(y=0.16)
        axes.grid(axis="y", alpha=0.25)
        axes.figure.legend(frameon=False, loc="outside lower center", ncols=3)
    return drawing.svg.replace("<svg", _ON_WHITE, 1)


def _heights(scores: Iterable[float | None]) -> list[float]:
    """Where there is no score, nothing is drawn."""
    return [float("nan") if score is None else score for score in scores]
