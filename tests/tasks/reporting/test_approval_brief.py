"""The page that whoever decides is shown: what the gate said, both versions' numbers, where to read on."""

import promotions

from tasks.measured import Comparison, Interval, Proof, SliceDifference
from tasks.proof.evidence import Evidence
from tasks.reporting.approval_brief import Addresses, brief

INTERVAL = Interval(low=-0.03, high=0.01, level=0.95)


def page(champion: int | None, links: Addresses = Addresses(), rows: str = "f" * 64) -> str:  # noqa: B008
    made = promotions.make_evidence("a" * 64, "digits", "inconclusive", champion)
    slices = (
        SliceDifference(column="label", value="8", rows=40, difference=-0.05, interval=INTERVAL),
        SliceDifference(column="label", value="1", rows=40, difference=0.02, interval=INTERVAL),
    )
    comparison = Comparison(
        champion=1, sha256="b" * 64, rows=360, score=0.97, difference=-0.01, changed=0.031, slices=slices
    )
    evidence = made.model_copy(update={"proof": made.proof.model_copy(update={"comparison": comparison})})
    verdict = made.proof.verdict.model_copy(update={"difference": -0.01, "interval": INTERVAL})
    serving = promotions.make_evidence("c" * 64, "digits") if champion is not None else None
    if serving is not None:
        serving = serving.model_copy(update={"proof": _sure(serving, 0.97, 0.99), "fingerprint": rows})
    evidence = evidence.model_copy(update={"proof": _sure(evidence, 0.96, 0.98)})
    return brief(2, evidence, verdict, champion, links, serving)


def _sure(evidence: Evidence, low: float, high: float) -> Proof:
    report = evidence.proof.report.model_copy(update={"interval": Interval(low=low, high=high, level=0.95)})
    return evidence.proof.model_copy(update={"report": report})


def test_the_champion_has_its_interval_where_it_was_proved_on_the_same_rows() -> None:
    assert "| 95% interval | 0.9600–0.9800 | 0.9700–0.9900 |" in page(1)
    assert "| 95% interval | 0.9600–0.9800 |  |" in page(1, rows="e" * 64)


def test_it_says_what_would_change_and_where_it_would_be_worse() -> None:
    text = page(1)
    assert "Promote digits version 2, in place of version 1?" in text and "**inconclusive**" in text
    assert "| | v2 | v1, serves |" in text
    assert "| accuracy, 360 rows | 0.9800 | 0.9900 |" in text and "| file | fp32 | fp32 |" in text
    assert "less version 1, same rows: -0.0100 (95%: -0.0300 to +0.0100)" in text
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert max(map(len, cells)) <= 24, "the form that it is shown in is narrow"
    assert "3.1% of rows" in text and "label=8: -0.0500" in text and "label=1" not in text


def test_numbers_against_another_champion_than_the_one_that_serves_are_left_out() -> None:
    text = page(3)
    assert "in place of version 3?" in text and "label=8" not in text and "3.1%" not in text


def test_a_first_version_and_links_are_said_plainly() -> None:
    text = page(None, Addresses(report="http://m/r.html", run="http://m/run"))
    assert "as the first champion?" in text and "less version" not in text
    assert "[Report with pictures](http://m/r.html) · [Run](http://m/run)" in text
