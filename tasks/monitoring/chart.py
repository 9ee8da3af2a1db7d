"""Drift as a picture."""

from collections.abc import Sequence

from tasks.monitoring.watched import ColumnDrift
from tasks.reporting.charts import GREY, MOST_SLICES, RED, lines


def drifts(columns: Sequence[ColumnDrift], threshold: float) -> str:
    """The population stability index of the most drifted columns, and from where it counts; on white, for dark pages."""
    shown = columns[:MOST_SLICES]
    label = f"PSI, served against training rows (red: drifted; dotted: {threshold:g})"
    with lines([column.name for column in shown], label) as drawing:
        colours = [RED if column.drifted else GREY for column in shown]
        values = [column.psi for column in shown]
        drawing.axes.barh(range(len(shown)), values, color=colours, alpha=0.8, height=0.7)
        drawing.axes.axvline(threshold, color="#30343a", lw=0.8, ls=":")
    return drawing.svg.replace("<svg", '<svg style="background:#fff"', 1)
