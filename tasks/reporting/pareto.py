"""The candidates as a picture: score against latency, size as area, picked and refused marked."""

import io
from collections.abc import Sequence

from tasks.outcome import CandidateResult
from tasks.reporting.charts import STYLE

_COLOURS = {"picked": "#0b7a3e", "front": "#2463b0", "dominated": "#8a8f98", "refused": "#b3261e"}

_LARGEST_AREA = 900.0


def picture(candidates: Sequence[CandidateResult], score_name: str = "score") -> str:
    """An inline SVG of the candidates that were measured; the same numbers give the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    measured = [c for c in candidates if c.score is not None and c.latency_ratio and c.size_bytes]
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        _draw(axes, measured)
        axes.set_xlabel("latency against fp32 (log; left is faster; area: file size)")
        axes.set_ylabel(score_name)
        axes.margins(0.18)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw(axes, measured: Sequence[CandidateResult]) -> None:  # type: ignore[no-untyped-def]  # matplotlib's is lazy
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
    axes.axvline(1, color="#8a8f98", lw=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
