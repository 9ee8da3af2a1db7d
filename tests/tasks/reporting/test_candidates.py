"""The line of a candidate in the terminal and on Prefect's pages."""

from tasks.outcome import CandidateResult
from tasks.reporting.candidates import cells


def test_numbers_are_rounded_for_people_and_what_was_not_measured_is_a_dash() -> None:
    measured = CandidateResult(
        name="int8", status="picked", score=0.98765, score_drop=0.0, size_bytes=1_234_567, latency_ratio=0.5,
        throughput_ratio=2.0,
    )  # fmt: skip
    assert [*cells(measured).values()] == ["int8", "picked", "0.9877", "1,235 kB", "0.50×", "2.00×"]
    refused = CandidateResult(
        name="pruned", status="refused", score=None, score_drop=None, size_bytes=0, latency_ratio=None,
        throughput_ratio=None,
    )  # fmt: skip
    assert [*cells(refused).values()] == ["pruned", "refused", "–", "0 kB", "–", "–"]
