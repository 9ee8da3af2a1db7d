"""What a row is made of, as people would say it: its columns, the words of a text, the patches of a picture, else places."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from tasks.data.arrays import Array, Arrays, to_inputs
from tasks.workloads.workload import Workload

_MOST_LETTERS = 16
"""A column behind so many elements (a code's letters, an angle's sine and cosine) is one part; behind more it is a picture."""

_MOST_PARTS = 1024

_MOST_PATCHES = 16

_OTHER_CODES = 5


@dataclass(frozen=True)
class Parts:
    """A row's inputs cut into parts: `masks` number each element's part, `names` are theirs."""

    masks: Arrays
    names: list[str]


def columns_behind(workload: Workload, frame: pd.DataFrame, inputs: Arrays) -> dict[str, list[str] | None]:
    """For each input, the column behind each element of a row, "" where none moves it; None where they cannot be told.

    Found by giving the first row other rows' values in one column and looking which elements follow.
    """
    tries = [
        (column, place)
        for column in frame.columns
        if column not in (*workload.targets, workload.time)
        for place in _others(frame[column])
    ]
    sources = {column: np.zeros(len(tries) + 1, dtype=int) for column in frame.columns}
    for row, (column, place) in enumerate(tries, 1):
        sources[column][row] = place
    taken = {column: frame[column].take(rows).array for column, rows in sources.items()}
    arrays = to_inputs(workload, pd.DataFrame(taken))
    columns: dict[str, list[str] | None] = {}
    for name, array in arrays.items():
        moved = (array[1:] != array[:1]).reshape(len(tries), -1)
        same_shape = array.shape[1:] == inputs[name].shape[1:]
        columns[name] = _owners([str(column) for column, _ in tries], moved) if same_shape else None
    return columns


def _others(values: "pd.Series[Any]") -> Array:
    """Rows with another value than the first: two codes may share letters, so several of them; of numbers, one."""
    if values.dtype == object:  # cells that are arrays, such as pictures, are compared as wholes
        values = values.map(
            lambda cell: np.asarray(cell).tobytes() if isinstance(cell, list | np.ndarray) else cell
        )
    differ = (values.notna() & (values != values.iloc[0])).to_numpy(dtype=bool)
    if is_numeric_dtype(values):
        return np.flatnonzero(differ)[:1]
    return np.flatnonzero(differ & ~values.duplicated().to_numpy())[:_OTHER_CODES]


def _owners(columns: list[str], moved: Array) -> list[str] | None:
    """Each element's column, by which of the tries (rows of `moved`) it followed; None when one had two, or one too many."""
    owners = np.full(moved.shape[1], "", dtype=object)
    for column in dict.fromkeys(columns):
        follows = moved[[tried == column for tried in columns]].any(0)
        if follows.sum() > _MOST_LETTERS or owners[follows].any():
            return None
        owners[follows] = column
    return list(owners)


def cut(row: Arrays, columns: dict[str, list[str] | None]) -> Parts:
    """A part for each column or element; for text as bytes, one for each word; for a large picture, one for each patch."""
    masks: Arrays = {}
    names: list[str] = []
    for name, array in row.items():
        labels, numbers = _words(array) or _elements(name, array, columns[name])
        masks[name] = (numbers + len(names)).reshape(array.shape).astype("int64")
        names += labels
    return Parts(masks, names)


def _elements(name: str, array: Array, columns: list[str] | None) -> tuple[list[str], Array]:
    """Each element's column, else its place; what would be too many parts to try goes by patches."""
    size = array[0].size
    if size > _MOST_PARTS and not (columns and all(columns)):
        return _patches(name, array)
    labels = [(columns[i] if columns else "") or _element(name, array.shape[1:], i) for i in range(size)]
    places = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return list(places), np.array([places[label] for label in labels])


def _patches(name: str, array: Array) -> tuple[list[str], Array]:
    """Squares of a picture [1, …, height, width] through all its channels; of anything else, stretches."""
    shape = array.shape[1:]
    spread = shape[-2:] if len(shape) > 1 else shape
    sides = [min(size, _MOST_PATCHES if len(spread) > 1 else _MOST_PATCHES**2) for size in spread]
    along = [np.arange(size) * side // size for size, side in zip(spread, sides, strict=True)]
    numbers = along[0] if len(along) == 1 else along[0][:, None] * sides[1] + along[1][None, :]
    labels = [f"{name} patch {','.join(map(str, place))}" for place in np.ndindex(*sides)]
    return labels, np.broadcast_to(numbers, shape).reshape(-1)


def _element(name: str, shape: tuple[int, ...], index: int) -> str:
    place = np.unravel_index(index, shape) if shape else ()
    return f"{name}[{','.join(map(str, place))}]" if place else name


def _words(array: Array) -> tuple[list[str], Array] | None:
    """Words of a row of bytes with their positions, or None when it is no text: at least nine in ten are printable ASCII."""
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.shape[1] < 8:
        return None
    values = array[0].astype("int64")
    seen = values[values != 0]
    if not len(seen) or ((seen >= 32) & (seen < 127)).mean() < 0.9 or 32 not in seen:
        return None
    starts = (values == 32) | ((values == 0) & (np.roll(values, 1) != 0))
    numbers = np.cumsum(starts) - int(starts[0])
    labels = [
        f"{''.join(chr(v) for v in values[numbers == n] if 32 <= v < 127).strip() or 'padding'} ({n})"
        for n in range(int(numbers.max()) + 1)
    ]
    return labels, numbers
