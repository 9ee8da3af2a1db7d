"""How fast a model was found to be when it was warmed up, which decides how its rows are batched."""

from collections.abc import Callable
from dataclasses import dataclass

INLINE_SECONDS = 0.001

BATCH, LARGE_BATCH = 64, 1024

LARGE_BATCH_SECONDS = 0.002

QUICK_BUDGET, SLOW_BUDGET = 0.15, 0.5

WORTH = 0.97

GAINING = 0.9

Run = Callable[[int], object]

Clock = Callable[[], float]


@dataclass(frozen=True)
class Pace:
    """Seconds for one row alone, seconds a row in a batch, the most rows that are run at once, and how many an engine needs to run at all."""

    single: float
    row: float
    batch: int
    least: int = 1

    @property
    def inline(self) -> bool:
        """Whether a row is so quick that batches run on the event loop itself."""
        return self.single < INLINE_SECONDS

    def seconds(self, rows: int) -> float:
        """What a batch of so many rows takes."""
        return max(self.single, rows * self.row)

    def at_once(self, rows: int) -> bool:
        """Whether a batch of so many rows is run on the event loop: everybody else waits for it."""
        return self.single < INLINE_SECONDS and rows * self.row <= INLINE_SECONDS


class Aside(Pace):
    """Of a model whose requests have to be read first, which may take any time: never on the event loop."""

    @property
    def inline(self) -> bool:
        return False

    def at_once(self, rows: int) -> bool:
        return False


def measure(run: Run, batch: int | None, clock: Clock) -> Pace:
    """Time batches of some sizes by `clock`, within a budget; `batch` is the user's own limit.

    Batches are bounded, for memory grows with them: by 64 rows, or by more where these are little work. A slow model
    gets the smallest batch that makes its rows cheap: a larger one only makes whoever came first wait for the rest.
    """
    single = fastest(run, 1, QUICK_BUDGET / 2, clock)
    if batch is None and single >= INLINE_SECONDS:
        return _slow(run, single, clock)
    size = max(1, min(batch or BATCH, int(QUICK_BUDGET / max(single, 1e-6))))
    row = fastest(run, size, QUICK_BUDGET / 2, clock) / size
    if batch is None:
        batch = max(BATCH, min(LARGE_BATCH, int(LARGE_BATCH_SECONDS / max(row, 1e-9))))
    return Pace(single, row, batch)


def _slow(run: Run, single: float, clock: Clock) -> Pace:
    """Double the batch for as long as the budget allows; a model that still gains when it is spent may use 64 rows."""
    costs, size, spent = {1: single}, 1, 0.0
    while size < BATCH and spent + 4 * size * costs[size] <= SLOW_BUDGET:
        size, start = 2 * size, clock()
        run(size)  # an engine makes its kernels when it first sees a shape
        costs[size] = fastest(run, size, 0.0, clock) / size
        spent += clock() - start
    best = min(costs.values())
    if size < BATCH and (size == 1 or costs[size] < GAINING * costs[size // 2]):
        return Pace(single, best, BATCH)
    enough = min(size for size, row in costs.items() if row * WORTH <= best)
    return Pace(single, costs[enough], enough)


def fastest(run: Run, rows: int, budget: float, clock: Clock) -> float:
    """Seconds of the quickest of up to 20 runs within the budget."""
    best, end = float("inf"), clock() + budget
    for _ in range(20):
        start = clock()
        run(rows)
        now = clock()
        best = min(best, now - start)
        if now > end:
            break
    return best
