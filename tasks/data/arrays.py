"""Rows as tensors see them: the workload's inputs and target as checked arrays, and a split of them."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.data.classic import classic
from tasks.data.fingerprint import row_hashes
from tasks.errors import UserError
from tasks.records import TensorSpec
from tasks.system.sentences import as_user_error, shortened
from tasks.workloads.rows import Rows
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]

Arrays = dict[str, Array]

GROUP, WEIGHT = "rows.group", "rows.weight"


@dataclass(frozen=True)
class Samples:
    """One split's arrays, memory-mapped: `inputs` by name, each [n, ...], and `target` [n] (class codes or float32).

    `group`, uint64[n], is the same for rows that belong together, and `weight`, float32[n], is how much each counts; None where
    the workload names no such column.
    """

    inputs: dict[str, Array]
    target: Array
    group: Array | None = None
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: slice | Array) -> "Samples":
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        group, weight = (None if array is None else array[rows] for array in (self.group, self.weight))
        return Samples(inputs, self.target[rows], group, weight)


def joined(parts: Sequence[Samples]) -> Samples:
    """The rows of several, in their order."""
    inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
    target = np.concatenate([part.target for part in parts])
    group, weight = (
        np.concatenate(arrays) if (arrays := [array for array in column if array is not None]) else None
        for column in ([part.group for part in parts], [part.weight for part in parts])
    )
    return Samples(inputs, target, group, weight)


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
    weights = classic(column).to_numpy("float32")
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        raise UserError(
            f"The weight {column.name!r} is {weights[wrong][0]:g} in {int(wrong.sum())} of {len(weights)} rows: give numbers of at least 0."
        )
    if not weights.any():
        raise UserError(f"The weight {column.name!r} is 0 in every row of a split: then none of them counts.")
    return weights


def spec_of(workload: Workload, name: str, array: Array) -> TensorSpec:
    dynamic = {0: "batch", **workload.dynamic.get(name, {})}
    shape = tuple(dynamic.get(axis, size) for axis, size in enumerate(array.shape))
    return TensorSpec(name=name, dtype=str(array.dtype), shape=shape)


def to_inputs(workload: Workload, rows: pd.DataFrame) -> dict[str, Array]:
    """The workload's named arrays for these rows. Raises UserError when their names, lengths or dtypes cannot be used."""
    with as_user_error(f"Workload {workload.name}: inputs() failed"):
        arrays = workload.inputs(rows)
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
    for name, axes in workload.dynamic.items():
        if name not in arrays:
            raise UserError(
                f"Workload {workload.name}: dynamic names an input {name!r}, and inputs() gives {', '.join(arrays)}."
            )
        if wrong := [axis for axis in axes if not 0 < axis < arrays[name].ndim]:
            raise UserError(
                f"Workload {workload.name}: dynamic names axis {wrong[0]} of {name!r}, which has the shape "
                f"{list(arrays[name].shape)}: its axes are counted from 0, and axis 0 always is dynamic."
            )


def classes_in(workload: Workload, column: "pd.Series[Any]") -> tuple[str, ...] | None:
    """`classes_of` the cells of a target in memory; an ordered category's are all that it has, in its order."""
    return classes_of(workload, *values_in(workload, column))


def values_in(workload: Workload, column: "pd.Series[Any]") -> tuple[list[Any], list[Any] | None]:
    """The different cells of a classification's target, and its order where it is an ordered category. None of a regression."""
    if workload.kind != "classification":
        return [], None
    dtype = classic(column.iloc[:0]).dtype
    order = [*classic(column).dtype.categories] if getattr(dtype, "ordered", False) else None
    return distinct(column, f"Workload {workload.name}: the target {workload.target!r}"), order


def distinct(column: "pd.Series[Any]", what: str) -> list[Any]:
    """The different cells of a column. Raises UserError, naming one, for cells that hold several values each."""
    try:
        return [*classic(column).dropna().unique()]
    except TypeError as error:
        cell = next(cell for cell in classic(column).dropna() if not isinstance(cell, Hashable))
        raise UserError(
            f"{what} has a {type(cell).__name__} in each cell, such as {shortened(str(cell), 60)}: give it one number or text a row, "
            "and what else is to be learned in columns of its own."
        ) from error


def classes_of(
    workload: Workload, values: Iterable[Any], order: Sequence[Any] | None = None
) -> tuple[str, ...] | None:
    """The classes' names in the order of their codes, which is `order` or else the values' own; None for a regression.

    Raises UserError when there is only one, and for values that have no order.
    """
    if workload.kind != "classification":
        return None
    values = [*values]
    if len(values) < 2:
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is always {pd.Series(values).tolist()[0]!r}; a classifier needs two classes."
        )
    if order is not None:
        return tuple(map(str, order))
    try:
        return tuple(str(value) for value in sorted(values))
    except TypeError as error:
        types = sorted({type(value).__name__ for value in values})
        raise UserError(
            f"The target's values are of the types {', '.join(types)}, which have no common order: make them one in load()."
        ) from error


def arrays_of(workload: Workload, rows: pd.DataFrame, classes: tuple[str, ...] | None) -> dict[str, Array]:
    """The inputs by name, and last the target: class codes, int64[n], or values, float32[n]."""
    if classes is None:
        with np.errstate(over="ignore"):
            target = rows[workload.target].to_numpy("float32")
        if bad := int((~np.isfinite(target)).sum()):
            raise UserError(
                f"Workload {workload.name}: target {workload.target!r} is infinite as float32 in {bad} rows: drop or scale them in load()."
            )
    else:
        codes = {name: code for code, name in enumerate(classes)}
        target = np.array([codes[str(value)] for value in classic(rows[workload.target])], "int64")
    return {**to_inputs(workload, rows), "target": target}
