"""How good answers are: sums over rows, and what they come to. Then one bootstrap, weights and slices serve every metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

Arrays = dict[str, Array]

Outputs = Array | Mapping[str, Array]
"""A model's outputs by name, or the first alone."""


@dataclass(frozen=True)
class Truth:
    """What answers are judged by: each goal's target, [n, …], and what each row weighs, [n] (None: 1)."""

    targets: tuple[Array, ...]
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.targets[0])


Targets = Array | tuple[Array, ...] | Truth
"""Each goal's, or the first's alone, where all rows weigh the same."""


def truth_of(targets: Targets) -> Truth:
    if isinstance(targets, Truth):
        return targets
    return Truth(targets if isinstance(targets, tuple) else (targets,))


_ROUNDING = 1e-12
"""The share of a sum of squares below which a variance is what rounding leaves of none."""


def mean(sums: Array) -> Array:
    """The mean over the rows of their first sum, [..., k + 1] to [...]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Array = sums[..., 0] / sums[..., -1]
    return value


@dataclass(frozen=True)
class Metric:
    """finish(Σ over rows of weight · sums): accuracy, F1, R², MAE, NDCG are all of this form. Higher is better.

    `sums` makes float64[n, k] of a target [n, …] and what an answer decided; `finish` makes a score [...] of their sums
    [..., k + 1], of which the last is that of the weights; NaN: not defined on these rows. `bounds` are the least and the most
    that a row adds to a mean. `whole`, of (target, answer) or, where rows weigh, (target, answer, weight [n]), stands in place of `sums` for
    what only all rows have, such as AUC. `by_row`: each row's own sum is whether it is right, 1 or 0. `units` numbers the rows of a target that come and go together, such as a query's: in an
    interval, and in a batch.
    """

    name: str
    sums: Callable[[Array, Arrays], Array] | None = None
    finish: Callable[[Array], Array] = mean
    bounds: tuple[float, float] | None = None
    whole: Callable[..., float] | None = None
    units: Callable[[Array], Array] | None = None
    by_row: bool = False


def accuracy() -> Metric:
    """The share of the rows whose class is right."""

    def right(target: Array, answer: Arrays) -> Array:
        hits: Array = (answer["code"] == target).astype("float64")[:, None]
        return hits

    return Metric("accuracy", right, bounds=(0.0, 1.0), by_row=True)


def r2() -> Metric:
    """The share of the target's variance that is explained, the mean over its columns; NaN for one that is constant."""

    def squares(target: Array, answer: Arrays) -> Array:
        truth = target.reshape(len(target), -1).astype("float64")
        values = alike(answer["value"], truth)
        truth, values = truth - np.median(truth, axis=0), values - np.median(truth, axis=0)
        return np.hstack([(truth - values) ** 2, truth, truth**2])

    def explained(sums: Array) -> Array:
        residual, first, second = np.split(sums[..., :-1], 3, axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = second - first**2 / sums[..., -1:]
            each = np.where(total > _ROUNDING * second, 1 - residual / total, np.nan)
        value: Array = each.mean(axis=-1)
        return value

    return Metric("r2", squares, explained)


def macro_f1(name: str = "macro_f1") -> Metric:
    """F1 of each label, the mean over the labels; 0 for one that is neither there nor said to be."""

    def counts(target: Array, answer: Arrays) -> Array:
        there, chosen = target.astype("float64"), answer["chosen"].astype("float64")
        return np.hstack([there * chosen, there, chosen])

    def finish(sums: Array) -> Array:
        value: Array = _f1(*np.split(sums[..., :-1], 3, axis=-1)).mean(axis=-1)
        return value

    return Metric(name, counts, finish)


def class_f1() -> Metric:
    """F1 of each class, the mean over the classes; a row of which nothing is said counts as missed."""

    def counts(target: Array, answer: Arrays) -> Array:
        classes = np.arange(answer["probability"].shape[1])
        there, said = (code[:, None] == classes for code in (target, answer["code"]))
        return np.hstack([there & said, there, said]).astype("float64")

    return Metric("macro_f1", counts, macro_f1().finish)


def tag_f1() -> Metric:
    """F1 over all places that have a tag but the one outside, together; a place below 0 in the target counts nowhere."""

    def counts(target: Array, answer: Arrays) -> Array:
        truth, code = target.reshape(len(target), -1), answer["code"].reshape(len(target), -1)
        counted, outside = truth >= 0, answer["outside"][:, None]
        there, said = counted & (truth != outside), counted & (code != outside)
        parts = [there & said & (truth == code), there, said]
        return np.stack([part.sum(axis=1).astype("float64") for part in parts], axis=1)

    def finish(sums: Array) -> Array:
        return _f1(sums[..., 0], sums[..., 1], sums[..., 2])

    return Metric("f1", counts, finish)


def _f1(both: Array, there: Array, said: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Array = np.where(there + said > 0, 2 * both / (there + said), 0.0)
    return value


def negative_mae() -> Metric:
    """The mean absolute error, negative: higher is better."""

    def errors(target: Array, answer: Arrays) -> Array:
        truth = target.reshape(len(target), -1).astype("float64")
        far: Array = np.abs(truth - alike(answer["value"], truth)).mean(axis=1, keepdims=True)
        return -far

    return Metric("neg_mae", errors)


def negative_pinball(quantiles: tuple[float, ...]) -> Metric:
    """The pinball loss of forecasts [n, steps, quantiles], its mean over steps and quantiles, negative (Koenker & Bassett 1978)."""
    levels = np.array(quantiles)

    def errors(target: Array, answer: Arrays) -> Array:
        over = target.astype("float64")[..., None] - answer["quantiles"].astype("float64")
        loss = np.maximum(levels * over, (levels - 1) * over)
        far: Array = loss.reshape(len(loss), -1).mean(axis=1, keepdims=True)
        return -far

    return Metric("neg_pinball", errors)


def input_called(name: str) -> str:
    """What an input of the model is called among the answers that details are made of."""
    return f"input {name}"


def mase(past: str, season: int) -> Metric:
    """The error in units of the seasonal naive forecast's on each row's own past, [n, steps] (Hyndman & Koehler 2006).

    A past that repeats itself to the bit counts nowhere.
    """

    def shares(target: Array, answer: Arrays) -> Array:
        series = answer[input_called(past)].astype("float64")
        naive = np.abs(series[:, season:] - series[:, :-season]).mean(axis=1)
        far = np.abs(target - alike(answer["value"], target)).mean(axis=1)
        counted = naive > _ROUNDING
        return np.stack([np.where(counted, far / np.maximum(naive, _ROUNDING), 0.0), counted], axis=1)

    return Metric("mase", shares, lambda sums: mean(sums[..., :2]))


def error_by_step(horizon: int) -> Metric:
    """The mean absolute error of each step of a forecast, in order."""

    def errors(target: Array, answer: Arrays) -> Array:
        far: Array = np.abs(target - alike(answer["value"], target))
        return far

    return Metric("mae by step", errors, lambda sums: sums[..., :horizon] / sums[..., -1:])


def coverage(quantiles: tuple[float, ...]) -> Metric:
    """The share of what came that lay between the outer quantiles, which say how large it should be."""
    low, high = (int(pick(quantiles)) for pick in (np.argmin, np.argmax))

    def between(target: Array, answer: Arrays) -> Array:
        said = answer["quantiles"]
        held = (said[..., low] <= target) & (target <= said[..., high])
        share: Array = held.reshape(len(target), -1).mean(axis=1, keepdims=True)
        return share

    return Metric(f"coverage of {quantiles[high] - quantiles[low]:.3g}", between)


def crossed(quantiles: tuple[float, ...]) -> Metric:
    """The share of steps of which a higher quantile lies below a lower one."""
    order = np.argsort(quantiles)

    def against(target: Array, answer: Arrays) -> Array:
        falls = (np.diff(answer["quantiles"][..., order], axis=-1) < 0).any(axis=-1)
        share: Array = falls.reshape(len(target), -1).mean(axis=1, keepdims=True)
        return share

    return Metric("crossed quantiles", against)


def ndcg(at: int) -> Metric:
    """Normalised discounted cumulative gain of each query's first `at` documents, the mean over the queries.

    A target row is (gain, query). Each row has its query's, by the number of its rows; a query without any gain counts nowhere.
    """

    def shares(target: Array, answer: Arrays) -> Array:
        gains, score = target[:, 0].astype("float64"), alike(answer["value"], target[:, :1])[:, 0]
        queries, sizes = np.unique(target[:, 1], return_inverse=True, return_counts=True)[1:]
        reached, best = (_discounted(gains, order, queries, sizes, at) for order in (score, gains))
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(best > 0, reached / best, 0.0)
        parts = np.stack([value, (best > 0).astype("float64")], axis=1)
        spread: Array = (parts / sizes[:, None])[queries]
        return spread

    def finish(sums: Array) -> Array:
        return mean(sums[..., :2])

    return Metric(f"ndcg@{at}", shares, finish, units=query_of)


def query_of(target: Array) -> Array:
    """Of rows (gain, query)."""
    return target[:, 1]


def _discounted(gains: Array, by: Array, queries: Array, sizes: Array, at: int) -> Array:
    """Each query's gains among its first `at` documents by `by`, the largest first, discounted by log2 of their place."""
    order = np.lexsort((-by, queries))
    place = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
    counted = np.where(place < at, gains[order] / np.log2(place + 2.0), 0.0)
    return np.bincount(queries[order], counted, len(sizes))


def recall(at: int) -> Metric:
    """The share of the rows whose own partner is among the `at` nearest of all rows' partners, by cosine.

    One that is as near as others stands in their middle: encoders that say the same of all rows find nothing.
    """

    def hits(target: Array, answer: Arrays) -> Array:
        ours, theirs = (_unit(answer[name]) for name in ("value", "beside"))
        found = np.empty(len(ours))
        for start in range(0, len(ours), 1024):
            near = ours[start : start + 1024] @ theirs.T
            own = near[np.arange(len(near)), np.arange(start, start + len(near))][:, None]
            nearer, as_near = (near > own + _ROUNDING), np.abs(near - own) <= _ROUNDING
            found[start : start + 1024] = nearer.sum(axis=1) + (as_near.sum(axis=1) - 1) / 2 < at
        return found[:, None]

    return Metric(f"recall@{at}", hits, bounds=(0.0, 1.0))


def _unit(vectors: Array) -> Array:
    flat = vectors.reshape(len(vectors), -1).astype("float64")
    scaled: Array = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), _ROUNDING)
    return scaled


def alike(values: Array, truth: Array) -> Array:
    """Values as float64 in the shape of the truth [n, k]: of more numbers than it has, the first."""
    flat = values.reshape(len(truth), -1).astype("float64")
    return flat[:, : truth.shape[1]]
