"""A report's pictures as inline SVG whose text takes the page's own font; the same numbers give the same bytes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.measured import Interval, Slice, SliceDifference
from tasks.records import Metric

if TYPE_CHECKING:
    from tasks.data.arrays import Array

BLUE, GREEN, RED, GREY = "#2463b0", "#0b7a3e", "#b3261e", "#8a8f98"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "slipway",
    "font.size": 9,
    "text.parse_math": False,
}
"""Text as it is: classes and columns have dollars in their names, which would be read as formulas."""

_MOST_CLASSES = 30

_FEW_POINTS = 4

MOST_SLICES = 30

WIDTH = 5.1  # inches: half a page at 1280 px, so that text keeps its size


@dataclass
class Canvas:
    """What a drawing function gets, and what becomes of it."""

    axes: Any
    svg: str = ""


@contextmanager
def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[Canvas]:
    """Axes of this size in inches, or [rows, columns] of them; `svg` is there when the block ends."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        single = rows == columns == 1
        drawing = Canvas(figure.add_subplot() if single else figure.subplots(rows, columns, squeeze=False))
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        yield drawing
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    drawing.svg = text[text.index("<svg") :]


def end_at_one(axes: Any, axis: str, values: Sequence[float]) -> None:
    """Let an axis of shares end where they do: nothing is above 1."""
    if values and max(values) <= 1 < getattr(axes, f"get_{axis}lim")()[1]:
        axes.set(**{f"{axis}lim": (None, 1)})
        for drawn in (*axes.collections, *axes.lines):
            drawn.set_clip_on(False)  # a point at 1 is seen whole


@contextmanager
def lines(names: Sequence[str], label: str, height: float = 0.24) -> Iterator[Canvas]:
    """Axes with a line of `height` inches at 0, 1, … for each name, the first on top, and `label` below."""
    with canvas(WIDTH, 0.8 + height * len(names)) as drawing:
        yield drawing
        drawing.axes.set_yticks(range(len(names)), names)
        drawing.axes.set_ylim(len(names) - 0.4, -0.6)
        drawing.axes.set_xlabel(label)


def scores(rows: Sequence[tuple[str, float, Interval | None]], score_name: str) -> str:
    """Scores with their intervals, one line each, the first on top."""
    with lines([name for name, _, _ in rows], f"{score_name} on the test rows", 0.32) as drawing:
        for place, (_, value, interval) in enumerate(rows):
            colour = GREEN if place == 0 else GREY
            if interval is not None:
                drawing.axes.hlines(place, interval.low, interval.high, color=colour, lw=2.5, alpha=0.45)
            drawing.axes.plot(value, place, "o", color=colour, ms=6)
        ends = [interval.high for _, _, interval in rows if interval is not None]
        end_at_one(drawing.axes, "x", [*ends, *(value for _, value, _ in rows)])
        drawing.axes.locator_params(axis="x", nbins=5)  # scores have four decimals, which need room
        drawing.axes.grid(axis="x", alpha=0.25)
    return drawing.svg


def slices(groups: Sequence[Slice], overall: float, score_name: str) -> str:
    """Each slice's score as a bar against the overall one, the largest slices when there are many."""
    shown = [group for group in groups if group.score is not None][:MOST_SLICES]
    shown.sort(key=lambda group: (group.column, group.score or 0.0), reverse=True)
    with lines(_names(shown), f"{score_name} (dashed: overall)") as drawing:
        values = [group.score or 0.0 for group in shown]
        low = min([*values, overall])
        start = 0.0 if low < 0.5 else max(0.0, low - 0.08)
        widths = [value - start for value in values]
        drawing.axes.barh(range(len(shown)), widths, left=start, color=BLUE, alpha=0.75, height=0.7)
        drawing.axes.axvline(overall, color=GREY, lw=1, ls="--")
        drawing.axes.set_xlim(left=min(start, 1.08 * low))
        end_at_one(drawing.axes, "x", values)
    return drawing.svg


def differences(groups: Sequence[SliceDifference], margin: float) -> str:
    """Challenger less champion by slice, with intervals, and the margin that a gate allows."""
    shown = groups[:MOST_SLICES]
    label = "challenger less champion on the same rows (dotted: the margin)"
    with lines(_names(shown), label, 0.26) as drawing:
        for place, group in enumerate(shown):
            low, high = group.interval.low, group.interval.high
            colour = RED if high < 0 else GREEN if low >= -margin else GREY
            drawing.axes.hlines(place, low, high, color=colour, lw=2)
            drawing.axes.plot(group.difference, place, "o", color=colour, ms=4)
        drawing.axes.axvline(0, color="#30343a", lw=0.8)
        drawing.axes.axvline(-margin, color=RED, lw=0.8, ls=":")
    return drawing.svg


def _names(groups: Sequence[Slice | SliceDifference]) -> list[str]:
    return [f"{group.column}={group.value} ({group.rows})" for group in groups]


def confusion(target: "Array", predicted: "Array", classes: Sequence[str]) -> str:
    """Counts of true class (rows) against predicted class (columns), shaded by the true class's share."""
    import numpy as np

    count = len(classes)
    table = np.zeros((count, count), int)
    np.add.at(table, (target, predicted), 1)
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    size = min(WIDTH, 1.4 + 0.36 * count)
    with canvas(size, size) as drawing:
        drawing.axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if count <= _MOST_CLASSES:
            for row, column in zip(*np.nonzero(table), strict=True):
                ink = "white" if shares[row, column] > 0.5 else "#1d2733"
                drawing.axes.text(
                    column, row, str(table[row, column]), ha="center", va="center", color=ink, size=7
                )
            drawing.axes.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
            drawing.axes.set_yticks(range(count), classes)
        drawing.axes.set_xlabel("predicted")
        drawing.axes.set_ylabel("true")
    return drawing.svg


def residuals(target: "Array", values: "Array") -> str:
    """Predicted against true values, at most two thousand of them."""
    import numpy as np

    pick = np.random.default_rng(0).permutation(len(target))[:2000]
    with canvas(WIDTH, 4.2) as drawing:
        drawing.axes.scatter(target[pick], values[pick], s=6, color=BLUE, alpha=0.4, linewidths=0)
        low, high = float(min(target.min(), values.min())), float(max(target.max(), values.max()))
        drawing.axes.plot([low, high], [low, high], color=GREY, lw=0.8)
        drawing.axes.set_xlabel("true")
        drawing.axes.set_ylabel("predicted")
    return drawing.svg


def curves(metrics: Sequence[Metric], score_name: str) -> str:
    """Training and validation loss, and the validation score, by step."""
    from matplotlib.ticker import LogFormatter

    with canvas(WIDTH, 3.2) as drawing:
        _curve(drawing.axes, metrics, "train/loss", "training loss", GREY, 0.8)
        _curve(drawing.axes, metrics, "validation/loss", "validation loss", BLUE, 1.8)
        drawing.axes.set_xlabel("step")
        drawing.axes.set_ylabel("loss")
        if all(metric.value > 0 for metric in metrics if metric.key.endswith("/loss")):
            drawing.axes.set_yscale("log")
            drawing.axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
        drawing.axes.yaxis.set_major_formatter("{x:g}")
        other = drawing.axes.twinx()
        other.spines["top"].set_visible(False)
        _curve(other, metrics, "validation/score", f"validation {score_name}", GREEN, 1.8)
        other.set_ylabel(score_name)
        other.figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return drawing.svg


def weights(parts: Sequence[tuple[str, float]], rows: int) -> str:
    """What the answers hang on most, over all rows that were looked at."""
    label = f"mean absolute weight over {rows} test rows"
    with lines([name for name, _ in parts], label) as drawing:
        values = [weight for _, weight in parts]
        drawing.axes.barh(range(len(parts)), values, color=BLUE, alpha=0.75, height=0.7)
    return drawing.svg


def heat_maps(maps: "Sequence[tuple[Array, Array]]", titles: Sequence[str]) -> str:
    """Pictures above, and below each what its places weigh: blue holds the answer up, red speaks against it."""
    with canvas(2 * WIDTH, 2 * WIDTH * 2.3 / max(4, len(maps)), 2, len(maps)) as drawing:
        for place, ((picture, heat), title) in enumerate(zip(maps, titles, strict=True)):
            most = max(float(abs(heat).max()), 1e-12)
            above, below = drawing.axes[0, place], drawing.axes[1, place]
            above.imshow(picture, cmap="Greys", interpolation="nearest")
            above.set_title(title, fontsize=11)
            below.imshow(heat, cmap="RdBu", vmin=-most, vmax=most, interpolation="nearest")
            for axes in (above, below):
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
    return drawing.svg


def _curve(axes: Any, metrics: Sequence[Metric], key: str, label: str, colour: str, width: float) -> None:
    if points := [(metric.step, metric.value) for metric in metrics if metric.key == key]:
        dots = {"marker": "o", "markersize": 4} if len(points) < _FEW_POINTS else {}
        axes.plot(*zip(*points, strict=True), color=colour, lw=width, label=label, **dots)
