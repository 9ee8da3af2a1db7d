"""The candidates as a picture: score against latency, size as area, picked and refused marked."""

from collections.abc import Sequence
from typing import Any

from tasks.outcome import CandidateResult
from tasks.reporting.charts import BLUE, GREEN, GREY, RED, canvas, end_at_one

_COLOURS = {"picked": GREEN, "front": BLUE, "dominated": GREY, "refused": RED}

_LARGEST_AREA = 900.0

_LINE, _MOST_STEPS = 6.0, 16
"""Points between the places that a label is tried at, above and below in turns."""


def picture(candidates: Sequence[CandidateResult], score_name: str = "score") -> str:
    """An inline SVG of the candidates that were measured; the same numbers give the same bytes."""
    measured = [
        (c, c.latency_ratio, c.score, c.size_bytes)
        for c in candidates
        if c.score is not None and c.latency_ratio and c.size_bytes
    ]
    largest = max((size for *_, size in measured), default=1)
    labels: list[tuple[str, float, float, float, str]] = []
    front = sorted((latency, score) for c, latency, score, _ in measured if c.status in ("picked", "front"))
    with canvas(7, 4) as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        for c, latency, score, size in measured:
            area = _LARGEST_AREA * size / largest
            colour = _COLOURS[c.status]
            face = colour if c.status == "picked" else "none"
            marker = "X" if c.status == "refused" else "o"
            axes.scatter(latency, score, s=area, marker=marker, facecolor=face, edgecolor=colour)
            labels.append((_said(c), latency, score, area**0.5 / 2, colour))
        if front:
            axes.plot(*zip(*front, strict=True), color=_COLOURS["front"], lw=0.8, ls=":", zorder=0)
        axes.axvline(1, color=GREY, lw=0.8)
        axes.set_xlabel("latency against fp32 (log; left is faster; area: file size)")
        axes.set_ylabel(score_name)
        axes.margins(0.18)
        _tick(axes)
        axes.grid(alpha=0.25)
        end_at_one(axes, "y", [score for _, _, score, _ in measured])
        _name(axes, labels)
    return drawing.svg


def _tick(axes: Any) -> None:
    """Speeds at powers of ten; where they span less than one, of which there may be none within, at round numbers."""
    from matplotlib.ticker import MaxNLocator, NullFormatter

    low, high = axes.get_xlim()
    if high < 10 * low:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _said(candidate: CandidateResult) -> str:
    marked = candidate.status in ("picked", "refused")
    return f"{candidate.name}, {candidate.status}" if marked else candidate.name


def _name(axes: Any, labels: Sequence[tuple[str, float, float, float, str]]) -> None:
    """Each label above its point, or where else near it no other label and no point is."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # places are known from here on
    scale = axes.figure.dpi / 72
    points = [axes.transData.transform((x, y)) for _, x, y, _, _ in labels]
    taken = [
        Bbox.from_extents(*(point - radius * scale), *(point + radius * scale))
        for point, (_, _, _, radius, _) in zip(points, labels, strict=True)
    ]
    for said, x, y, radius, colour in labels:
        for step in range(_MOST_STEPS):
            up = 1 if step % 2 == 0 else -1
            away = up * (radius + 3 + step // 2 * _LINE)
            text = axes.annotate(
                said, (x, y), xytext=(0, away), textcoords="offset points", ha="center", color=colour,
                va="bottom" if up == 1 else "top",
            )  # fmt: skip
            box = text.get_window_extent()
            if step == _MOST_STEPS - 1 or not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
