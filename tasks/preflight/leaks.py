"""Truth among the inputs: a single number of a row that tells its target, in all of many rows."""

import numpy as np
import pandas as pd

from tasks.data.arrays import arrays_of, learn, look_at, target_name
from tasks.workloads.workload import Workload

_ROWS, _FEWEST, _WIDEST = 1000, 50, 4096


def telling_input(workload: Workload, frame: pd.DataFrame) -> tuple[str, str] | None:
    """The input, and its place in a row, that tells a target of `frame` by itself, and which; None when there is none."""
    rows = frame.iloc[np.linspace(0, len(frame) - 1, min(_ROWS, len(frame)), dtype=int)]
    if len(rows) < _FEWEST or any(frame[name].astype(str).nunique() < 2 for name in workload.targets):
        return None
    arrays = arrays_of(workload, rows, learn(workload, [look_at(workload, frame)]))
    targets = [arrays.pop(target_name(place)) for place in range(len(workload.goals))]
    for name, array in arrays.items():
        columns = array.reshape(len(array), -1)[:, :_WIDEST].astype("float64")
        for place, column in enumerate(columns.T):
            for goal, target in zip(workload.goals, targets, strict=True):
                if np.ptp(target) and goal.target.told_by(column, target):
                    where = np.unravel_index(place, array.shape[1:]) if array.ndim > 1 else ()
                    at = f"[:, {', '.join(map(str, where))}]" if where else ""
                    return f"inputs()[{name!r}]{at}", goal.target.said
    return None
