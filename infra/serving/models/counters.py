"""Counts of one version, kept as plain integers: a batch costs a handful of additions, a scrape does the rest."""

from bisect import bisect_left
from dataclasses import dataclass, field

LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

ROWS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(slots=True)
class Histogram:
    """Counts by upper bound, and their sum; the bounds are private, which keeps them out of the JSON."""

    _bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self._bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def add_all(self, values: list[float]) -> None:
        """Values from the largest to the smallest; those of a batch nearly always share a bucket."""
        bucket = bisect_left(self._bounds, values[0])
        if bucket == bisect_left(self._bounds, values[-1]):
            self.counts[bucket] += len(values)
        else:
            for value in values:
                self.counts[bisect_left(self._bounds, value)] += 1
        self.total += sum(values)


def latencies() -> Histogram:
    return Histogram(LATENCY)


@dataclass(slots=True)
class Numbers:
    """What a version has done."""

    model: str
    version: str
    answers: dict[str, int] = field(default_factory=dict)
    engines: dict[str, int] = field(default_factory=dict)
    """Rows by the engine that ran them, where a version has two; pairs of a rollout, too."""
    rows: int = 0
    not_finite: int = 0
    rescued: int = 0
    run_seconds: float = 0.0
    latency: Histogram = field(default_factory=latencies)
    batches: Histogram = field(default_factory=lambda: Histogram(ROWS))

    def answered(self, status: int, count: int = 1) -> None:
        text = "200" if status == 200 else str(status)
        self.answers[text] = self.answers.get(text, 0) + count
