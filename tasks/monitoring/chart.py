"""Drift as a picture."""

from collections.abc import Sequence

from tasks.monitoring.drift import ColumnDrift
from tasks.reporting.charts import GREY, MOST_SLICES, RED, WIDTH, canvas


def drifts(columns: Sequence[ColumnDrift], threshold: float) -> str:
    """The population stability index of the most drifted columns, and from where it counts; on white, for dark pages."""
    shown = columns[:MOST_SLICES]
    with canvas(WIDTH, 0.9 + 0.24 * len(shown)) as made:
        places = [-place for place in range(len(shown))]
        colours = [RED if column.drifted else GREY for column in shown]
        made.axes.barh(places, [column.psi for column in shown], color=colours, alpha=0.8, height=0.7)
        made.axes.axvline(threshold, color="#30343a", lw=0.8, ls=":")
        made.axes.set_yticks(places, [column.name for column in shown])
        made.axes.set_ylim(-len(shown) + 0.4, 0.6)
        made.axes.set_xlabel(f"PSI, served against training rows (red: drifted; dotted: {threshold:g})")
    return made.svg.replace("<svg", '<svg style="background:#fff"', 1)
