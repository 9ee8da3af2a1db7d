"""Rows as tensors see them: the workload's inputs and target as checked arrays, and a split of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.data.fingerprint import row_hashes
from tasks.errors import UserError
from tasks.goals.classic import classic
from tasks.goals.metric import Truth
from tasks.goals.target import GoalError
from tasks.records import Fitted, TensorSpec
from tasks.system.files import write_atomically
from tasks.system.sentences import as_user_error
from tasks.workloads.rows import Rows
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]

Arrays = dict[str, Array]

GROUP, WEIGHT = "rows.group", "rows.weight"


@dataclass(frozen=True)
class Samples:
    """One split's arrays, memory-mapped: `inputs` by name, each [n, ...], the first goal's `target` [n, ...] and those of others.

    `group`, uint64[n], is the same for rows that belong together, and `weight`, float32[n], is how much each counts; None where
    the workload names no such column.
    """

    inputs: dict[str, Array]
    target: Array
    others: tuple[Array, ...] = ()
    group: Array | None = None
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: slice | Array) -> "Samples":
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        others = tuple(array[rows] for array in self.others)
        group, weight = (None if array is None else array[rows] for array in (self.group, self.weight))
        return Samples(inputs, self.target[rows], others, group, weight)

    @property
    def targets(self) -> tuple[Array, ...]:
        """Each goal's, in their order."""
        return (self.target, *self.others)

    @property
    def truth(self) -> Truth:
        """What answers are judged by."""
        return Truth(self.targets, self.weight)

    @property
    def named(self) -> list[tuple[str, Array]]:
        """All arrays by name; those of rows that are weighed have the weights, too."""
        targets = [(target_name(place), array) for place, array in enumerate(self.targets)]
        beside = [(WEIGHT, self.weight)] if self.weight is not None else []
        return [*self.inputs.items(), *targets, *beside]


def joined(parts: Sequence[Samples]) -> Samples:
    """The rows of several, in their order."""
    inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
    target, *others = (np.concatenate(part) for part in zip(*(part.targets for part in parts), strict=True))
    group, weight = (
        np.concatenate(arrays) if (arrays := [array for array in column if array is not None]) else None
        for column in ([part.group for part in parts], [part.weight for part in parts])
    )
    return Samples(inputs, target, tuple(others), group, weight)


def sampling_arrays(rows: pd.DataFrame, sampling: Rows) -> dict[str, Array]:
    """What is kept of each row beside its tensors, by names that no input has. Raises UserError for weights that are none."""
    arrays: dict[str, Array] = {}
    if sampling.group is not None:
        arrays[GROUP] = row_hashes(rows[[sampling.group]])
    if sampling.weight is not None:
        arrays[WEIGHT] = _weights(rows[sampling.weight])
    return arrays


def _weights(column: "pd.Series[Any]") -> Array:
    if not pd.api.types.is_numeric_dtype(classic(column).dtype):
        raise UserError(f"The weight {column.name!r} is {column.dtype}: give numbers of at least 0.")
    weights: Array = classic(column).to_numpy("float32")
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        raise UserError(
            f"The weight {column.name!r} is {weights[wrong][0]:g} in {int(wrong.sum())} of {len(weights)} rows: give numbers of at least 0."
        )
    if not weights.any():
        raise UserError(f"The weight {column.name!r} is 0 in every row of a split: then none of them counts.")
    return weights


def spec_of(workload: Workload, name: str, array: Array) -> TensorSpec:
    dynamic = {0: "batch", **workload.axes.get(name, {})}
    shape = tuple(dynamic.get(axis, size) for axis, size in enumerate(array.shape))
    return TensorSpec(name=name, dtype=str(array.dtype), shape=shape)


def to_inputs(workload: Workload, rows: pd.DataFrame) -> dict[str, Array]:
    """The workload's named arrays for these rows. Raises UserError when their names, lengths or dtypes cannot be used."""
    with as_user_error(f"Workload {workload.name}: inputs() failed"):
        arrays = workload.reading(rows)
    if not isinstance(arrays, dict) or not arrays:
        raise UserError(
            f"Workload {workload.name}: inputs() returned {type(arrays).__name__}; return a dict of named numpy arrays."
        )
    for name, array in arrays.items():
        _check_array(workload, name, array, len(rows))
    _check_dynamic(workload, arrays)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _check_array(workload: Workload, name: str, array: Any, rows: int) -> None:
    if name == "target" or not name.isidentifier():
        raise UserError(
            f"Workload {workload.name}: inputs() names an array {name!r}; use a Python name other than 'target'."
        )
    who = f"Workload {workload.name}: inputs()[{name!r}]"
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        what = getattr(array, "dtype", type(array).__name__)
        raise UserError(f"{who} is {what}; give a numeric numpy array.")
    count = len(array) if array.ndim else "no"
    if count != rows:
        raise UserError(f"{who} has {count} rows where the frame has {rows}.")
    if array.dtype.kind == "f" and (bad := _rows_not_finite(array)):
        raise UserError(
            f"{who} has NaN or infinity in {bad} of {rows} rows, which the model server refuses: fill such cells in "
            "inputs(), and say in another column where."
        )


def _rows_not_finite(array: Array) -> int:
    return int((~np.isfinite(array.reshape(len(array), -1))).any(axis=1).sum())


def _check_dynamic(workload: Workload, arrays: dict[str, Array]) -> None:
    for name, axes in workload.axes.items():
        if name not in arrays:
            raise UserError(
                f"Workload {workload.name}: dynamic names an input {name!r}, and inputs() gives {', '.join(arrays)}."
            )
        if wrong := [axis for axis in axes if not 0 < axis < arrays[name].ndim]:
            raise UserError(
                f"Workload {workload.name}: dynamic names axis {wrong[0]} of {name!r}, which has the shape "
                f"{list(arrays[name].shape)}: its axes are counted from 0, and axis 0 always is dynamic."
            )


@contextmanager
def said_of(workload: Workload) -> Iterator[None]:
    """What a goal cannot learn, as a UserError that names the workload."""
    try:
        yield
    except GoalError as error:
        raise UserError(f"Workload {workload.name}: {error}") from error


def learn(workload: Workload, looks: Sequence[tuple[Any, ...]]) -> tuple[Fitted, ...]:
    """What each goal learns of all rows, from `look_at` each part of them. Raises UserError when there is nothing to learn."""
    with said_of(workload):
        parts = zip(workload.goals, zip(*looks, strict=True), strict=True)
        return tuple(goal.target.learn(part) for goal, part in parts)


def look_at(workload: Workload, rows: pd.DataFrame) -> tuple[Any, ...]:
    """What each goal has to know of these rows, to learn of all."""
    with said_of(workload):
        return tuple(goal.target.look(rows) for goal in workload.goals)


def arrays_of(workload: Workload, rows: pd.DataFrame, fitted: Sequence[Fitted]) -> dict[str, Array]:
    """The inputs by name, and last the targets: "target" is the first goal's."""
    inputs = to_inputs(workload, rows)
    with said_of(workload):
        targets = {
            target_name(place): goal.target.encode(rows, own, inputs)
            for place, (goal, own) in enumerate(zip(workload.goals, fitted, strict=True))
        }
    return {**inputs, **targets}


def target_name(place: int) -> str:
    """What a goal's target is called among a split's arrays: no Python name but for the first, so that no input has it."""
    return f"target.{place}" if place else "target"


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Arrays by name in one file; whole or not there."""
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load_arrays(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
