"""Eight fixed bets against "the mean is no more than this": valid at every look, exact at every n, a function of counts alone.

W = 1/8 sum_k prod_i (1 + lambda_k (x_i - mean)), lambda_k = 0.9 * 2^-k of the largest bet that cannot lose all. If the mean so far,
of what was to be expected each time, is no more than `mean`, W ever reaches 1/alpha with a chance of alpha at most (Ville); whoever
adds the counts of many processes, in any order, has the wealth of all that they saw. Bets that follow the data would be no faster
and would need the order.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Side = Literal["above", "below"]
"""Of a mean: where the truth is surely, once the wealth is large."""

Seen = Mapping[int, float]
"""How often each value came; its keys are all values that can come, so also those that did not."""

_BETS = tuple(0.9 * 0.5**power for power in range(8))

_LONGEST = 40
"""Powers of two: a plan that needs as many observations is none."""


@overload
def log_wealth(seen: Seen, mean: float, side: Side) -> float: ...
@overload
def log_wealth(seen: Mapping[int, "Array"], mean: float, side: Side) -> "Array": ...
def log_wealth(seen: Mapping[int, Any], mean: float, side: Side) -> "float | Array":
    """Logarithm of the wealth of who bets that the mean of what was `seen` is `side` of `mean`; 0 before anything came.

    `mean` lies between the smallest value and the largest. Counts that are arrays of one shape are as many states, and the answer has
    their shape.
    """
    import numpy as np  # here: ledgers are read without any of this

    values = np.fromiter(seen, float)
    if side == "above":
        gains = (values - mean) / (mean - values.min())
    else:
        gains = (mean - values) / (values.max() - mean)
    growth = np.log1p(np.outer(_BETS, gains))
    counts = np.array([*seen.values()], float)
    logs = growth @ counts.reshape(len(values), -1)
    top = logs.max(axis=0)
    wealth = top + np.log(np.exp(logs - top).mean(axis=0))
    return wealth.reshape(counts.shape[1:]) if counts.ndim > 1 else float(wealth[0])


def interval(seen: Seen, alpha: float) -> tuple[float, float]:
    """Means that are not ruled out: at all looks together the truth is outside with a chance of `alpha` at most."""
    low, high = min(seen), max(seen)
    bar = math.log(2 / alpha)
    return _edge(seen, "above", bar, low, high), _edge(seen, "below", bar, high, low)


def planned(
    shares: Mapping[int, float], mean: float, side: Side, alpha: float, seen: Seen | None = None
) -> int | None:
    """How many more observations until the wealth reaches 1/alpha, if values come at these shares; None: not at these."""
    import numpy as np

    bar, came = math.log(1 / alpha), seen or dict.fromkeys(shares, 0)

    def reached(more: "Array") -> "Array":
        all_ = {value: came[value] + more * share for value, share in shares.items()}
        return log_wealth(all_, mean, side) >= bar

    # Logarithms of sums of exponentials are convex: below the bar at first, they cross it once.
    points = np.concatenate([[0], 2 ** np.arange(_LONGEST)])
    while (there := reached(points)).any():
        first = int(there.argmax())
        if first == 0 or points[first] - points[first - 1] == 1:
            return int(points[first])
        points = np.unique(np.linspace(points[first - 1], points[first], 65).astype(np.int64))
    return None


def _edge(seen: Seen, side: Side, bar: float, refused: float, kept: float) -> float:
    """Where the means begin that are not ruled out on this side: the wealth is monotone in the mean."""
    for _ in range(60):
        middle = (refused + kept) / 2
        if middle in (refused, kept):
            break
        if log_wealth(seen, middle, side) >= bar:
            refused = middle
        else:
            kept = middle
    return refused
