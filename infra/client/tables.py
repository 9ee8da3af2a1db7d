"""From what a data scientist has (a frame, columns, rows) to a model's inputs by name, and from its outputs to a frame."""

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError
from tasks.system.sentences import some

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

Rows = Any
"""A DataFrame, columns by name (`{"image": array}`), rows (`[{"image": …}, …]`), or one array for a model with one input."""


def columns_of(model: str, rows: Rows, inputs: Sequence[str]) -> dict[str, Array]:
    """One array an input, as many rows each; what else there is, such as a label, stays behind. Raises UserError."""
    given = _by_name(model, rows, inputs)
    if missing := [name for name in inputs if name not in given]:
        raise UserError(
            f"{model} takes {some(inputs, 10)}, and there is no column {some(missing, 10)}: "
            f"there is {some([*given], 10) or 'none'}."
        )
    columns = {name: _array(name, given[name]) for name in inputs}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(
            f"The columns have different numbers of rows ({', '.join(f'{name}: {count}' for name, count in lengths.items())}): give as many of each."
        )
    return columns


def _by_name(model: str, rows: Rows, inputs: Sequence[str]) -> Mapping[str, Any]:
    if _is_frame(rows):
        return {str(name): rows[name] for name in rows.columns}
    if isinstance(rows, Mapping):
        return rows
    if _are_mappings(rows):
        names = set(rows[0]).intersection(*rows)
        return {name: [row[name] for row in rows] for name in rows[0] if name in names}
    if len(inputs) != 1 or isinstance(rows, str | bytes):
        raise UserError(
            f"{model} takes {some(inputs, 10)}, and a {type(rows).__name__} names none of them: "
            "give a DataFrame, columns by name, or a list of rows by name."
        )
    return {inputs[0]: rows}


def _is_frame(rows: Rows) -> bool:
    """Of pandas, or of another library like it."""
    return hasattr(rows, "columns")


def _are_mappings(rows: Rows) -> bool:
    return isinstance(rows, Sequence) and bool(rows) and all(isinstance(row, Mapping) for row in rows)


def pieces(length: int, most: int) -> Iterator[slice]:
    """All rows, at most so many at a time."""
    return (slice(start, min(start + most, length)) for start in range(0, length, most))


def frame_of(outputs: Mapping[str, Array], rows: Rows, about: Mapping[str, Any]) -> "pd.DataFrame":
    """A column an output, under its name and with the index of what was asked; of an output with more numbers a row, an array a cell."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError(
            "Answers come as a DataFrame, and pandas is not installed here: install it."
        ) from error

    index = getattr(rows, "index", None) if _is_frame(rows) else None
    cells = {name: _cells(output) for name, output in outputs.items()}
    frame = pd.DataFrame({name: pd.Series(values) for name, values in cells.items()})
    if index is not None:
        frame.index = index
    frame.attrs.update(about)
    return frame


def _array(name: str, values: Any) -> Array:
    """As the model's row has it: numbers in their shape, text and pictures (bytes, in base64 from here) one a row."""
    array = _stacked(name, values.to_numpy() if hasattr(values, "to_numpy") else values)
    if array.ndim == 0:
        raise UserError(f"Column {name!r} is the one value {values!r}: give a list of values, one a row.")
    if array.dtype.kind in "fiub":
        _check_finite(name, array)
        return array
    cells = [*array.flat]
    if cells and all(isinstance(cell, bytes) for cell in cells):
        texts: list[str] = [base64.b64encode(cell).decode() for cell in cells]
        return np.array(texts, object).reshape(array.shape)
    if not all(isinstance(cell, str) for cell in cells):
        kind = array.dtype if array.dtype != object else "values that are not all text"
        raise UserError(
            f"Column {name!r} holds {kind}, and a model takes numbers, text or bytes: convert it, or fill what is missing."
        )
    return array


def _stacked(name: str, column: Any) -> Array:
    """One array, also of cells that are arrays."""
    try:
        array = np.asarray(column)
        if array.dtype == object and len(array) and not isinstance(array.flat[0], str | bytes):
            array = np.stack([np.asarray(cell) for cell in array])
    except ValueError as error:
        raise UserError(f"Column {name!r} has rows of different shapes: give each the same.") from error
    return array


def _check_finite(name: str, array: Array) -> None:
    if not np.isfinite(array).all():
        row = int(np.isfinite(array.reshape(len(array), -1)).all(axis=1).argmin())
        raise UserError(f"Column {name!r} has no finite number in row {row}: fill it, or leave the row out.")


def _cells(output: Array) -> "Array | list[Array]":
    """One value a row, where there is one."""
    if output.ndim > 1 and output.size == len(output):
        return output.reshape(len(output))
    return output if output.ndim == 1 else list(output)


def listed(columns: Mapping[str, Array], part: slice) -> dict[str, Any]:
    """Some rows as a request has them."""
    return {
        name: np.ascontiguousarray(column[part]) if column.dtype.kind in "fiub" else column[part].tolist()
        for name, column in columns.items()
    }


def joined(parts: Sequence[Mapping[str, Array]], names: Collection[str]) -> dict[str, Array]:
    """The outputs of all pieces, in their order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
