"""Truth among the inputs: a single number of a row that tells its target, in all of many rows."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.data.arrays import arrays_of, classes_in
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]

_ROWS, _FEWEST, _WIDEST = 1000, 50, 4096

_LINEAR = 1 - 1e-6
"""The share of a target's variance that a number explains which is the target, in other units."""


def telling_input(workload: Workload, frame: pd.DataFrame) -> str | None:
    """The input, and its place in a row, that tells the target of `frame` by itself; None when there is none."""
    rows = frame.iloc[np.linspace(0, len(frame) - 1, min(_ROWS, len(frame)), dtype=int)]
    if len(rows) < _FEWEST or frame[workload.target].nunique() < 2:
        return None
    *inputs, (_, target) = arrays_of(workload, rows, classes_in(workload, frame[workload.target])).items()
    if len(np.unique(target)) < 2:
        return None
    tells = _explains if workload.kind == "regression" else _divides
    for name, array in inputs:
        columns = array.reshape(len(array), -1)[:, :_WIDEST].astype("float64")
        for place, column in enumerate(columns.T):
            if tells(column, target):
                where = np.unravel_index(place, array.shape[1:]) if array.ndim > 1 else ()
                return f"inputs()[{name!r}]" + (f"[:, {', '.join(map(str, where))}]" if where else "")
    return None


def _explains(column: Array, target: Array) -> bool:
    """Whether the target is the number, in whatever units."""
    if column.std() == 0:
        return False
    return bool(np.corrcoef(column, target)[0, 1] ** 2 > _LINEAR)


def _divides(column: Array, target: Array) -> bool:
    """Whether each class has values of its own: a code for each, or a range."""
    values, places = np.unique(column, return_inverse=True)
    lowest, highest = np.full(len(values), target.max()), np.full(len(values), target.min())
    np.minimum.at(lowest, places, target)
    np.maximum.at(highest, places, target)
    if len(values) < 2 or (lowest != highest).any():
        return False
    ranges = 1 + int((np.diff(lowest) != 0).sum())
    return ranges == len(np.unique(target)) or len(values) <= 2 * len(np.unique(target))
