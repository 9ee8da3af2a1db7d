"""The trainings that a search tried, as pictures: how good each was, in their order and by each knob; and their curves over each other."""

from collections.abc import Sequence
from typing import Any

from tasks.measured import Searched, TriedTraining
from tasks.reporting.charts import BLUE, GREEN, GREY, RED, canvas, end_at_one

_LOOKS = {"finished": ("o", BLUE), "ended early": ("v", GREY), "failed": ("X", RED)}

_MOST_KNOBS, _COLUMNS, _WIDE, _HIGH = 4, 3, 3.4, 2.7

_LOG = 20.0
"""Numbers whose largest is so many times the smallest are told apart by their size alone."""


def picture(searched: Searched, score_name: str) -> str:
    """An inline SVG; the same results give the same bytes."""
    knobs = [*searched.choice.knobs][:_MOST_KNOBS]
    panels = 2 + len(knobs)
    rows = -(-panels // _COLUMNS)
    with canvas(_WIDE * _COLUMNS, _HIGH * rows + 0.3, rows, _COLUMNS) as drawing:
        over, curves, *by_knob = drawing.axes.flat
        _over(over, searched)
        _curves(curves, searched)
        for axes, knob in zip(by_knob, knobs, strict=False):
            _by(axes, searched, knob)
        for axes in drawing.axes[:, 0]:
            axes.set_ylabel(f"{score_name}, validation")
        for axes in drawing.axes.flat[:panels]:
            end_at_one(axes, "y", [each.score for each in searched.trainings if each.score is not None])
            axes.grid(alpha=0.25)
        for axes in drawing.axes.flat[panels:]:
            axes.set_axis_off()
    return drawing.svg


def _over(axes: Any, searched: Searched) -> None:
    """Each in its turn, and the best so far."""
    best: list[float] = []
    for place, tried in enumerate(searched.trainings):
        _point(axes, place, tried, searched)
        best.append(max([*best[-1:], *_finished(tried)], default=float("nan")))
    axes.step(range(len(best)), best, where="post", color=GREEN, lw=1, label="best so far")
    axes.set_xlabel("training")
    axes.locator_params(axis="x", integer=True)
    handles, labels = axes.get_legend_handles_labels()
    first = dict(zip(reversed(labels), reversed(handles), strict=True))
    axes.figure.legend(first.values(), first, frameon=False, loc="outside lower center", ncols=len(first))


def _finished(tried: TriedTraining) -> Sequence[float]:
    return [tried.score] if tried.score is not None and tried.state == "finished" else []


def _curves(axes: Any, searched: Searched) -> None:
    for tried in searched.trainings:
        points = [(epoch, score) for epoch, score in enumerate(tried.scores, 1) if score is not None]
        chosen = tried.name == searched.chosen
        if points:
            colour = GREEN if chosen else _LOOKS[tried.state][1]
            axes.plot(*zip(*points, strict=True), color=colour, lw=2 if chosen else 0.7, alpha=0.9, zorder=2 + chosen)  # fmt: skip
            axes.plot(*points[-1], _LOOKS[tried.state][0], color=colour, ms=3)
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)


def _by(axes: Any, searched: Searched, knob: str) -> None:
    """By a knob's values: numbers where they lie, words and the like beside each other."""
    from matplotlib.ticker import NullFormatter

    values = [tried.knobs[knob] for tried in searched.trainings]
    if all(isinstance(value, int | float) for value in values):
        if min(values) > 0 and max(values) / min(values) >= _LOG:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        places = values
    else:
        words = sorted({str(value) for value in values})
        places = [words.index(str(value)) for value in values]
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
    for place, tried in zip(places, searched.trainings, strict=True):
        _point(axes, place, tried, searched)
    axes.set_xlabel(knob)


def _point(axes: Any, place: float, tried: TriedTraining, searched: Searched) -> None:
    if tried.score is None:
        return
    marker, colour = _LOOKS[tried.state]
    chosen = tried.name == searched.chosen
    axes.plot(
        place, tried.score, marker, color=GREEN if chosen else colour, ms=8 if chosen else 4, ls="none",
        label="chosen" if chosen else tried.state, zorder=2 + chosen,
    )  # fmt: skip
