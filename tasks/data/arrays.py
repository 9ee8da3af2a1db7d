"""Rows as tensors see them: the workload's inputs and target as checked arrays, and a split of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import UserError
from tasks.goals.target import GoalError
from tasks.records import Fitted, TensorSpec
from tasks.system.files import write_atomically
from tasks.system.sentences import as_user_error
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Samples:
    """One split's arrays, memory-mapped: `inputs` by name, each [n, ...], the first goal's `target` [n, ...] and those of others."""

    inputs: dict[str, Array]
    target: Array
    others: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: slice | Array) -> "Samples":
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        return Samples(inputs, self.target[rows], tuple(array[rows] for array in self.others))

    @property
    def targets(self) -> tuple[Array, ...]:
        """Each goal's, in their order."""
        return (self.target, *self.others)

    @property
    def named(self) -> list[tuple[str, Array]]:
        """All arrays by name."""
        others = [(f"target_{place}", array) for place, array in enumerate(self.others, 1)]
        return [*self.inputs.items(), ("target", self.target), *others]


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
