import re

import numpy as np

from tasks.measured import Slice
from tasks.outcome import CandidateResult
from tasks.records import Metric
from tasks.reporting import charts as pictures
from tasks.reporting import pareto


def test_names_with_dollars_are_text_and_no_formulas() -> None:
    slices = (Slice(column="pay", value=r"$10_$\x", rows=5, score=0.5),)
    assert r"pay=$10_$\x (5)" in pictures.slices(slices, 0.5, "accuracy")
    assert r"$\x$" in pictures.confusion(np.array([0, 1]), np.array([1, 0]), [r"$\x$", ">$50k"])
    candidate = CandidateResult(
        name="fp32", status="picked", score=0.5, score_drop=0, size_bytes=5, latency_ratio=1, throughput_ratio=1
    )  # fmt: skip
    assert r"$\x$" in pareto.picture([candidate], r"$\x$")


def test_bars_of_scores_below_zero_are_on_the_picture() -> None:
    svg = pictures.slices(
        [Slice(column="plan", value=v, rows=5, score=s) for v, s in (("a", -3.0), ("b", -0.5))], -1.0, "r2"
    )
    page = float(re.findall(r'viewBox="0 0 ([\d.]+)', svg)[0])
    bars = re.findall(r'<path d="M ([\d.-]+) [^"]*z\s*" clip-path', svg)
    assert len(bars) == 2 and all(0 < float(left) < page for left in bars)


def test_losses_below_zero_are_drawn() -> None:
    def lines(sign: float) -> int:
        losses = [Metric("train/loss", sign * (1 + step), step, 0) for step in range(5)]
        svg = pictures.curves([*losses, Metric("validation/score", 0.5, 4, 0)], "accuracy")
        return svg.count('clip-path="url')

    assert lines(-1.0) == lines(1.0) > 0
