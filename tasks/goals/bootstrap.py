"""How sure a score is, and a difference of two on the same rows: one paired bootstrap, whatever the metric."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from tasks.goals.metric import Array, Arrays, Metric
from tasks.goals.units import Units
from tasks.measured import Interval

_RESAMPLES = 2000

_CELLS = 40_000_000  # resampled rows in all; keeps large test sets near a second

_SECONDS = 3.0  # what a score of all rows, called row set by row set, may take

_FEWEST = 100

_AT_ONCE = 4_000_000


def marks_of(metric: Metric, target: Array, answer: Arrays, weight: Array | None = None) -> "Marks":
    """What a metric needs of rows: target [n, …], what was decided of them, and what each row weighs, [n] (None: 1)."""
    if metric.sums is None:
        return WholeMarks(metric, target, answer, weight)
    sums, weights = metric.sums(target, answer), np.ones(len(target)) if weight is None else weight
    table = np.hstack([sums, np.ones((len(sums), 1))]) * np.asarray(weights, "float64")[:, None]
    return SumMarks(metric, table, None if metric.units is None else metric.units(target))


def interval(marks: "Marks", level: float, groups: Array | None = None) -> Interval | None:
    """Of the score over the rows it could have been measured on; None when it is not defined.

    Rows of one number in `groups` come and go together, as copies of a row do.
    """
    return _percentiles(marks.resampled((marks,), groups), level)


def difference(ours: "Marks", theirs: "Marks", level: float, groups: Array | None = None) -> Interval | None:
    """Of score(ours) − score(theirs), rows resampled in pairs; None when it is not defined."""
    return _percentiles(ours.resampled((ours, theirs), groups), level)


class Marks(ABC):
    """Rows as a metric sees them; a mask or row numbers give some of them."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, rows: Array) -> Self: ...

    @abstractmethod
    def score(self) -> float:
        """NaN where it is not defined on these rows."""

    def values(self) -> Array:
        """[1], the score; or what a metric of several numbers comes to, [m]."""
        return np.array([self.score()])

    @abstractmethod
    def resampled(self, pair: tuple[Any, ...], groups: Array | None) -> Array:
        """The score of these marks, or the first's less the second's, on some hundred resamples; NaN where not defined."""


@dataclass(frozen=True)
class SumMarks(Marks):
    """float64[n, k + 1]: each row's weighted sums, and last its weight."""

    metric: Metric
    table: Array
    units: Array | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Array) -> Self:
        units = None if self.units is None else self.units[rows]
        return replace(self, table=self.table[rows], units=units)

    def score(self) -> float:
        return float(self.metric.finish(self.table.sum(axis=0))) if len(self) else float("nan")

    def values(self) -> Array:
        return np.atleast_1d(self.metric.finish(self.table.sum(axis=0)))

    def resampled(self, pair: tuple["SumMarks", ...], groups: Array | None) -> Array:
        """Multinomial over distinct rows: those of few different marks, such as right and wrong, cost nothing however many."""
        groups = self.units if groups is None else groups
        rows = np.hstack([marks.table for marks in pair])
        if groups is not None:
            places = np.unique(groups, return_inverse=True)[1]
            rows = np.stack([np.bincount(places, column) for column in rows.T], axis=1)
        if not len(rows):
            return np.empty(0)
        rows = np.vstack([rows, *self._extremes(len(pair))])
        distinct, counts = np.unique(rows, axis=0, return_counts=True)
        draws = max(_FEWEST, min(_RESAMPLES, _CELLS // len(distinct)))
        shares, rng, width = counts / counts.sum(), np.random.default_rng(0), self.table.shape[1]
        values = []
        for part in np.array_split(np.arange(draws), max(1, draws * len(distinct) // _AT_ONCE)):
            sums = rng.multinomial(counts.sum(), shares, len(part)) @ distinct
            ours, *theirs = (
                self.metric.finish(sums[:, place : place + width]) for place in range(0, sums.shape[1], width)
            )
            values.append(ours - theirs[0] if theirs else ours)
        return np.concatenate(values)

    def _extremes(self, sides: int) -> list[Array]:
        """A row at each bound of a mean.

        Without them, rows that all agree would give an interval of no width however few they are (Agresti & Min 2005,
        "Simple improved confidence intervals for comparing matched proportions").
        """
        if self.metric.bounds is None:
            return []
        low, high = ([bound, 1.0] for bound in self.metric.bounds)
        return [np.array([*low, *high][: 2 * sides]), np.array([*high, *low][: 2 * sides])]


@dataclass(frozen=True)
class WholeMarks(Marks):
    """Targets and answers, for what only all rows together have, with as many resamples as its own speed allows."""

    metric: Metric
    target: Array
    answer: Arrays
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Array) -> Self:
        answer = {name: array[rows] for name, array in self.answer.items()}
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, target=self.target[rows], answer=answer, weight=weight)

    def score(self) -> float:
        assert self.metric.whole is not None
        weight = () if self.weight is None else (self.weight,)
        return float(self.metric.whole(self.target, self.answer, *weight)) if len(self) else float("nan")

    def resampled(self, pair: tuple["WholeMarks", ...], groups: Array | None) -> Array:
        units = Units(groups if groups is not None else np.arange(len(self)))
        rng = np.random.default_rng(0)
        if len(units) < 2:
            return np.empty(0)

        def at(drawn: Array) -> float:
            rows = units.rows(drawn)
            try:
                ours, *theirs = (marks[rows].score() for marks in pair)
            except Exception:  # of somebody's own score, on a resample with one class only
                return float("nan")
            return ours - theirs[0] if theirs else ours

        started = time.perf_counter()
        at(np.arange(len(units)))
        count = int(_SECONDS / max(time.perf_counter() - started, 1e-6))
        draws = max(_FEWEST, min(_RESAMPLES, count))
        return np.array([at(rng.integers(0, len(units), len(units))) for _ in range(draws)])


def _percentiles(values: Array, level: float) -> Interval | None:
    """Percentiles of the resamples; the normal interval where too few lie beyond them."""
    asked, values = len(values), values[np.isfinite(values)]
    if len(values) < _FEWEST // 2:
        return None
    tail = (1 - level) / 2
    if len(values) * tail >= 5:
        low, high = np.quantile(values, [tail, 1 - tail])
    else:
        reach = NormalDist().inv_cdf(1 - tail) * values.std(ddof=1)
        low, high = values.mean() - reach, values.mean() + reach
    return Interval(low=float(low), high=float(high), level=level, undefined=1 - len(values) / asked)
