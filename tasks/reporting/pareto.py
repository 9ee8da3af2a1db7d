"""The candidates as a picture: score against latency, size as area, picked and refused marked."""

from collections.abc import Sequence

from tasks.outcome import CandidateResult
from tasks.reporting.charts import BLUE, GREEN, GREY, RED, canvas

_COLOURS = {"picked": GREEN, "front": BLUE, "dominated": GREY, "refused": RED}

_LARGEST_AREA = 900.0


def picture(candidates: Sequence[CandidateResult], score_name: str = "score") -> str:
    """An inline SVG of the candidates that were measured; the same numbers give the same bytes."""
    from matplotlib.ticker import NullFormatter

    measured = [
        (c, c.size_bytes) for c in candidates if c.score is not None and c.latency_ratio and c.size_bytes
    ]
    largest = max((size for _, size in measured), default=1)
    front = sorted((c.latency_ratio, c.score) for c, _ in measured if c.status in ("picked", "front"))
    with canvas(7, 4) as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        for c, size in measured:
            area = _LARGEST_AREA * size / largest
            colour = _COLOURS[c.status]
            face = colour if c.status == "picked" else "none"
            marker = "X" if c.status == "refused" else "o"
            axes.scatter(c.latency_ratio, c.score, s=area, marker=marker, facecolor=face, edgecolor=colour)
            axes.annotate(
                f"{c.name}, {c.status}" if c.status in ("picked", "refused") else c.name,
                (c.latency_ratio, c.score),
                xytext=(0, area**0.5 / 2 + 3),
                textcoords="offset points",
                ha="center",
                color=colour,
            )
        if front:
            axes.plot(*zip(*front, strict=True), color=_COLOURS["front"], lw=0.8, ls=":", zorder=0)
        axes.axvline(1, color=GREY, lw=0.8)
        axes.xaxis.set_major_formatter("{x:g}×")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("latency against fp32 (log; left is faster; area: file size)")
        axes.set_ylabel(score_name)
        axes.margins(0.18)
        axes.grid(alpha=0.25)
    return drawing.svg
