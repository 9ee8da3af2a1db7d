import xml.etree.ElementTree as ElementTree

import pytest

from tasks.outcome import CandidateResult
from tasks.reporting.pareto import picture


def result(
    name: str, status: str, score: float | None, latency: float | None, size: int | None
) -> CandidateResult:
    return CandidateResult(
        name=name,
        status=status,
        score=score,
        score_drop=0.0,
        size_bytes=size,
        latency_ratio=latency,
        throughput_ratio=latency and 1 / latency,
    )


RESULTS = (
    result("fp32", "dominated", 0.98, 1.0, 500_000),
    result("int8", "picked", 0.979, 0.5, 130_000),
    result("dynamic", "refused", 0.98, 5.0, 130_000),
    result("broken", "refused", None, None, None),
)


def test_the_picture_is_inline_svg_and_names_what_was_measured() -> None:
    svg = picture(RESULTS, "accuracy")
    root = ElementTree.fromstring(svg)
    words = " ".join(text.strip() for text in root.itertext())
    assert root.tag.endswith("svg")
    for said in ("fp32", "int8, picked", "dynamic, refused", "accuracy", "latency against fp32"):
        assert said in words
    assert "broken" not in words


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes() -> None:
    assert picture(RESULTS) == picture(RESULTS)


def test_with_nothing_measured_there_is_still_a_picture() -> None:
    ElementTree.fromstring(picture(RESULTS[3:]))


def test_names_of_candidates_that_lie_together_do_not_cover_each_other() -> None:
    close = [result(f"candidate-{n}", "refused", 0.97 + n / 1e5, 0.5 + n / 100, 100_000) for n in range(5)]
    root = ElementTree.fromstring(picture(close, "accuracy"))
    places = [
        (float(text.get("x", 0)), float(text.get("y", 0)))
        for text in root.iter("{http://www.w3.org/2000/svg}text")
        if (text.text or "").strip().startswith("candidate-")
    ]
    assert len(places) == 5
    for place, (x, y) in enumerate(places):
        assert all(abs(y - other) > 8 or abs(x - beside) > 90 for beside, other in places[:place])


@pytest.mark.parametrize(("slow", "least"), [(1.3, 3), (4.0, 3), (90.0, 2)])
def test_the_axis_of_speeds_can_be_read_whatever_it_spans(slow: float, least: int) -> None:
    svg = picture([result("fp32", "front", 0.98, 1.0, 500_000), result("int8", "front", 0.9, slow, 130_000)])
    ticks = [text for text in ElementTree.fromstring(svg).itertext() if text.strip().endswith("×")]
    assert least <= len(ticks) <= 8, ticks


def test_names_that_look_like_markup_are_escaped() -> None:
    ElementTree.fromstring(picture([result("<script>", "front", 0.9, 1.0, 10)]))
