"""Counts of one version, kept as plain integers: a batch costs a handful of additions, a scrape does the rest."""

from bisect import bisect_left

LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

ROWS = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """Counts by upper bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: list[float]) -> None:
        """Values from the largest to the smallest; those of a batch nearly always share a bucket."""
        bucket = bisect_left(self.bounds, values[0])
        if bucket == bisect_left(self.bounds, values[-1]):
            self.counts[bucket] += len(values)
        else:
            for value in values:
                self.counts[bisect_left(self.bounds, value)] += 1
        self.total += sum(values)

    def dump(self) -> dict[str, object]:
        return {"counts": self.counts, "total": self.total}


class Numbers:
    """What a version has done."""

    __slots__ = ("answers", "batches", "latency", "not_finite", "rescued", "rows", "run_seconds")

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        self.rows = 0
        self.not_finite = 0
        self.rescued = 0
        self.run_seconds = 0.0
        self.latency = Histogram(LATENCY)
        self.batches = Histogram(ROWS)

    def answered(self, status: int) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1

    def dump(self) -> dict[str, object]:
        return {
            "answers": {str(status): count for status, count in self.answers.items()},
            "rows": self.rows,
            "not_finite": self.not_finite,
            "rescued": self.rescued,
            "run_seconds": self.run_seconds,
            "latency": self.latency.dump(),
            "batches": self.batches.dump(),
        }
