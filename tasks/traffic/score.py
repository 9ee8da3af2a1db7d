"""How good answers were, by the labels that came back: by day, version or slice, and never without how many rows have one."""

import datetime
from collections.abc import Iterator
from typing import Literal

import numpy as np

from tasks.errors import UserError
from tasks.goals.metric import Array
from tasks.rollout.evalue import interval
from tasks.settings import Settings
from tasks.system.frozen import Frozen
from tasks.traffic.labelled_rows import Judged, judged

By = Literal["day", "version", "slice"]

_ALPHA = 0.05

_NO_LABEL = "no label"


class Scored(Frozen):
    """Some rows: how many were answered, how many have a label, and which share of those is right."""

    group: str
    rows: int
    labelled: int
    coverage: float
    score: float | None
    low: float | None
    high: float | None


class Score(Frozen):
    """What labels say of a model's recorded answers. A group's low and high hold however often one looks, each by itself."""

    model: str
    score_name: str
    level: float
    by: By | None
    overall: Scored
    groups: tuple[Scored, ...]
    unknown: int
    conflicts: int
    strange: int
    repeated: int
    left_out: int
    ahead: tuple[str, ...]


def score(settings: Settings, model: str, by: By | None, now: datetime.datetime) -> Score:
    """Of all recorded rows of a model, by all labels that there are, late ones too.

    Raises UserError for a model that is not in the registry, has no recorded rows or no such slices, or is not scored row by row.
    """
    asked = ("outputs.", "inputs.") if by == "slice" else ("outputs.",)
    rows = judged(settings, model, now, wanted=asked)
    groups = [*_groups(rows, by)]
    if by == "slice" and not groups:
        raise UserError(
            f"{model} has no slices to score by: its workload names none, or none that is its target or an input of a request."
        )
    return Score(
        model=model,
        score_name="accuracy",
        level=1 - _ALPHA,
        by=by,
        overall=scored("all", rows.right),
        groups=tuple(scored(name, rows.right[mask]) for name, mask in groups),
        unknown=rows.matched.unknown,
        conflicts=rows.matched.conflicts,
        strange=sum(label is not None for label in rows.labels) - int(np.isfinite(rows.right).sum()),
        repeated=rows.repeated,
        left_out=rows.left_out,
        ahead=rows.ahead,
    )


def scored(group: str, right: Array) -> Scored:
    """Of float64[n]: 1 or 0 where a label says so, else NaN."""
    labelled, hits = int(np.isfinite(right).sum()), int(np.nansum(right))
    low, high = interval({0: labelled - hits, 1: hits}, _ALPHA) if labelled else (None, None)
    return Scored(
        group=group,
        rows=len(right),
        labelled=labelled,
        coverage=labelled / len(right) if len(right) else 0.0,
        score=hits / labelled if labelled else None,
        low=low,
        high=high,
    )


def _groups(rows: Judged, by: By | None) -> Iterator[tuple[str, Array]]:
    """The name and bool[n] of each."""
    if by == "day":
        days = rows.times // 86_400
        for day in np.unique(days):
            yield f"{datetime.datetime.fromtimestamp(day * 86_400, datetime.UTC):%Y-%m-%d}", days == day
    elif by == "version":
        versions = rows.table["version"].to_numpy()
        yield from ((number, versions == number) for number in sorted(rows.answers, key=int))
    elif by == "slice":
        for column, values in _slices(rows):
            yield from ((f"{column}={value}", values == value) for value in np.unique(values).tolist())


def _slices(rows: Judged) -> Iterator[tuple[str, Array]]:
    """The workload's slices that are its target, or that a request brings: words [n]."""
    workload = [*rows.answers.values()][-1].workload
    for column in workload.slices:
        if column in workload.goals[0].target.columns:
            yield column, np.array([_NO_LABEL if label is None else label for label in rows.labels])
        elif f"inputs.{column}" in rows.table.column_names:
            values = rows.table[f"inputs.{column}"].to_pylist()
            yield column, np.array([str(value[0]) if value else _NO_LABEL for value in values])
