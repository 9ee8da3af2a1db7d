"""The candidates as a picture: score against latency, size as area, picked and refused marked."""

from collections.abc import Sequence
from typing import Any

from tasks.outcome import CandidateResult
from tasks.reporting.charts import BLUE, GREEN, GREY, RED, canvas

_COLOURS = {"picked": GREEN, "front": BLUE, "dominated": GREY, "refused": RED}

_LARGEST_AREA = 900.0


def picture(candidates: Sequence[CandidateResult], score_name: str = "score") -> str:
    """An inline SVG of the candidates that were measured; the same numbers give the same bytes."""
    measured = [c for c in candidates if c.score is not None and c.latency_ratio and c.size_bytes]
    with canvas(7, 4) as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        _draw(axes, measured)
        axes.set_xlabel("latency against fp32 (log; left is faster; area: file size)")
        axes.set_ylabel(score_name)
        axes.margins(0.18)
        axes.grid(alpha=0.25)
    return drawing.svg


def _draw(axes: Any, measured: Sequence[CandidateResult]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    largest = max((c.size_bytes or 0 for c in measured), default=1)
    for c in measured:
        area = _LARGEST_AREA * (c.size_bytes or 0) / largest
        face = _COLOURS[c.status] if c.status == "picked" else "none"
        marker = "X" if c.status == "refused" else "o"
        axes.scatter(
            c.latency_ratio, c.score, s=area, marker=marker, facecolor=face, edgecolor=_COLOURS[c.status]
        )
        axes.annotate(
            f"{c.name}, {c.status}" if c.status in ("picked", "refused") else c.name,
            (c.latency_ratio, c.score),
            xytext=(0, area**0.5 / 2 + 3),
            textcoords="offset points",
            ha="center",
            color=_COLOURS[c.status],
        )
    front = sorted((c.latency_ratio, c.score) for c in measured if c.status in ("picked", "front"))
    axes.plot(
        *zip(*front, strict=True) if front else ([], []), color=_COLOURS["front"], lw=0.8, ls=":", zorder=0
    )
    axes.axvline(1, color=GREY, lw=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
