"""The candidates of a run as a table of words, for the terminal and for Prefect's pages alike."""

from collections.abc import Sequence

from tasks.outcome import CandidateResult


def cells(candidate: CandidateResult) -> dict[str, str]:
    """A candidate's line by its columns; ratios against the fp32 ONNX of the same model."""
    kilobytes = None if candidate.size_bytes is None else candidate.size_bytes / 1e3
    return {
        "candidate": candidate.name,
        "status": candidate.status,
        "score": number(candidate.score, "{:.4f}"),
        "size": number(kilobytes, "{:,.0f} kB"),
        "latency": number(candidate.latency_ratio, "{:.2f}×"),
        "throughput": number(candidate.throughput_ratio, "{:.2f}×"),
    }


def number(value: object, form: str) -> str:
    """The value as `form` writes it; a dash for one that there is not."""
    return "–" if value is None else form.format(value)


def numbers(values: Sequence[float | None]) -> str:
    """Each to four places, in order."""
    return ", ".join(number(value, "{:.4f}") for value in values)
