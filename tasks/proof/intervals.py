"""How sure a score is, and a difference of two on the same rows: paired bootstrap, overall and slice by slice."""

import time
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Gates
from tasks.data.arrays import Array
from tasks.errors import UserError
from tasks.records import Champion, Comparison, Interval, Slice, SliceDifference
from tasks.workloads.scoring import predictions, row_scores, score
from tasks.workloads.workload import Workload

_RESAMPLES = 2000

_CELLS = 40_000_000  # resampled rows in all; keeps large test sets under a second

_SECONDS = 3.0  # what a workload's own score, called row set by row set, may take

_FEWEST = 100

_LARGEST_GROUPS = 50


def score_interval(
    workload: Workload, target: Array, outputs: Array, level: float, groups: Array | None = None
) -> Interval | None:
    """The interval of a score over the rows it could have been measured on; None when it is not defined.

    Rows of one number in `groups` come and go together, as copies of a row do.
    """
    rows = row_scores(workload, target, outputs)
    if rows is not None:
        return _of_mean(rows, level, (0.0, 1.0), groups)
    return _of_statistic(
        lambda index: score(workload, target[index], outputs[index]), len(target), level, groups
    )


def compare(
    workload: Workload,
    target: Array,
    frame: pd.DataFrame,
    ours: Array,
    theirs: Array,
    champion: Champion,
    gates: Gates,
    copied: Array | None = None,
) -> Comparison:
    """Challenger (`ours`) less champion (`theirs`), both raw outputs on the same rows, with intervals."""
    groups = [group for group in slices(workload, frame) if int(group[2].sum()) >= gates.min_slice_rows]
    level = 1 - (1 - gates.confidence) / max(1, len(groups))  # Bonferroni: many slices, few false alarms
    return Comparison(
        champion=champion.version,
        sha256=champion.sha256,
        rows=len(target),
        score=score(workload, target, theirs),
        difference=score(workload, target, ours) - score(workload, target, theirs),
        interval=difference_interval(workload, target, ours, theirs, gates.confidence, copied),
        changed=float((predictions(workload, ours) != predictions(workload, theirs)).mean()),
        slices=tuple(
            difference
            for column, value, mask in groups
            if (
                difference := _slice(
                    workload,
                    column,
                    value,
                    target[mask],
                    ours[mask],
                    theirs[mask],
                    level,
                    None if copied is None else copied[mask],
                )
            )
        ),
    )


def difference_interval(
    workload: Workload, target: Array, ours: Array, theirs: Array, level: float, groups: Array | None = None
) -> Interval | None:
    """The interval of score(ours) − score(theirs), rows resampled in pairs; None when it is not defined."""
    mine, other = row_scores(workload, target, ours), row_scores(workload, target, theirs)
    if mine is not None and other is not None:
        return _of_mean(mine - other, level, (-1.0, 1.0), groups)

    def difference(index: Array) -> float:
        return score(workload, target[index], ours[index]) - score(workload, target[index], theirs[index])

    return _of_statistic(difference, len(target), level, groups)


def slices(workload: Workload, frame: pd.DataFrame) -> Iterator[tuple[str, str, Array]]:
    """(column, value, mask over the rows) of each group of the workload's slice columns, the largest first."""
    for column in workload.slices:
        for value in frame[column].value_counts().index[:_LARGEST_GROUPS]:
            yield column, str(value), (frame[column] == value).to_numpy(bool, na_value=False)


def score_slices(workload: Workload, target: Array, frame: pd.DataFrame, outputs: Array) -> tuple[Slice, ...]:
    """Each slice scored by itself; None where the score is not defined (one class under AUC)."""
    return tuple(
        Slice(
            column=column,
            value=value,
            rows=int(mask.sum()),
            score=score_if_defined(workload, target[mask], outputs[mask]),
        )
        for column, value, mask in slices(workload, frame)
    )


def score_if_defined(workload: Workload, target: Array, outputs: Array) -> float | None:
    """The score, or None where these rows have none (one class under AUC, a constant target under R²)."""
    try:
        value = score(workload, target, outputs)
    except UserError:
        return None
    return value if value == value else None


def _slice(
    workload: Workload,
    column: str,
    value: str,
    target: Array,
    ours: Array,
    theirs: Array,
    level: float,
    groups: Array | None,
) -> SliceDifference | None:
    mine, other = score_if_defined(workload, target, ours), score_if_defined(workload, target, theirs)
    interval = difference_interval(workload, target, ours, theirs, level, groups)
    if mine is None or other is None or interval is None:
        return None
    return SliceDifference(
        column=column, value=value, rows=len(target), difference=mine - other, interval=interval
    )


def _of_mean(rows: Array, level: float, bounds: tuple[float, float], groups: Array | None) -> Interval | None:
    """Of a mean, with one row at each bound added.

    Without them, rows that all agree would give an interval of no width however few they are (Agresti & Min 2005,
    "Simple improved confidence intervals for comparing matched proportions").
    """
    if len(rows) == 0:
        return None
    if groups is None:
        return _of_means(np.append(rows, bounds), np.mean, level)
    places = np.unique(groups, return_inverse=True)[1]
    sums = np.append(np.bincount(places, rows), bounds)
    counts = np.append(np.bincount(places), (1, 1))

    def mean(units: Array, axis: int) -> Any:
        return sums[units].sum(axis) / counts[units].sum(axis)

    return _of_means(np.arange(len(sums)), mean, level)


def _of_means(units: Array, mean: Callable[..., Any], level: float) -> Interval | None:
    batch = max(1, min(_RESAMPLES, 4_000_000 // len(units)))
    return _bootstrap(units, mean, _CELLS // len(units), level, batch=batch)


def _of_statistic(
    statistic: Callable[[Array], float], rows: int, level: float, groups: Array | None
) -> Interval | None:
    """Of any function of row numbers, with as many resamples as its own speed allows."""
    units = _Units(groups if groups is not None else np.arange(rows))

    def at(index: Array) -> float:
        try:
            return statistic(units.rows(index.astype(int)))
        except UserError:  # such as a resample with one class only
            return float("nan")

    if len(units) < 2:
        return None
    started = time.perf_counter()
    at(np.arange(len(units)))
    count = int(_SECONDS / max(time.perf_counter() - started, 1e-6))
    return _bootstrap(np.arange(len(units)), at, count, level, vectorized=False)


class _Units:
    """What is resampled: rows, or groups of rows that come and go together."""

    def __init__(self, groups: Array) -> None:
        places = np.unique(groups, return_inverse=True)[1]
        self._order = np.argsort(places, kind="stable")
        self._sizes = np.bincount(places)
        self._starts = self._sizes.cumsum() - self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def rows(self, units: Array) -> Array:
        """The numbers of all rows of these units, in their order."""
        sizes = self._sizes[units]
        before = np.repeat(self._starts[units] - (sizes.cumsum() - sizes), sizes)
        taken: Array = self._order[before + np.arange(sizes.sum())]
        return taken


def _bootstrap(
    sample: Array, statistic: Callable[[Array], Any], count: int, level: float, **how: Any
) -> Interval | None:
    """Percentiles of about `count` resamples; the normal interval where too few lie beyond them."""
    from scipy.stats import bootstrap

    count = max(_FEWEST, min(_RESAMPLES, count))
    rng = np.random.default_rng(0)
    resampled = bootstrap((sample,), statistic, n_resamples=count, method="percentile", rng=rng, **how)
    values = resampled.bootstrap_distribution[np.isfinite(resampled.bootstrap_distribution)]
    if len(values) < _FEWEST // 2:
        return None
    tail = (1 - level) / 2
    if len(values) * tail >= 5:
        low, high = np.quantile(values, [tail, 1 - tail])
    else:
        reach = NormalDist().inv_cdf(1 - tail) * values.std(ddof=1)
        low, high = values.mean() - reach, values.mean() + reach
    return Interval(low=float(low), high=float(high), level=level)
