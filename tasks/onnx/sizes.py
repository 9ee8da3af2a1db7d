"""Real rows in sizes that no exporter has traced: odd batches, and every further dynamic axis cut short."""

from collections.abc import Callable, Iterator

import numpy as np

from tasks.data.arrays import Array, Samples
from tasks.data.dataset import read_split
from tasks.records import Dataset
from tasks.workloads.workload import Workload

Arrays = dict[str, Array]

_BATCHES = (1, 2, 7)

_LENGTHS, _ROWS_AT_A_LENGTH = (0.1, 0.45, 0.8), 64

_LOOKED_AT = 4096

_OTHERWISE: dict[str, Callable[[Array], Array]] = {
    "of the other sign": np.negative,
    "all above zero": np.abs,
    "all below zero": lambda array: -np.abs(array),
    "all zero": np.zeros_like,
    "a tenth as large": lambda array: (array / 10).astype(array.dtype),
    "ten times as large": lambda array: (array * 10).astype(array.dtype),
}
"""Rows that a model may be asked and that no split has: what it decides by a sign or a size, it decides otherwise there."""


def odd_sizes(samples: Samples, workload: Workload) -> Iterator[Arrays]:
    """Real rows in odd batches, and pairs of them in other lengths."""
    for batch in _BATCHES:
        yield batch_of(samples, batch)
    for _, arrays in at_lengths(batch_of(samples, 2), workload, (0.3, 0.7)):
        yield arrays


def edge_rows(dataset: Dataset) -> Arrays:
    """From every split and by every input, the row of the smallest and of the largest sum, the emptiest and the fullest."""
    parts = [_edges(read_split(dataset, split)) for split in dataset.rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _edges(samples: Samples) -> Arrays:
    rows = np.unique(np.linspace(0, len(samples) - 1, min(_LOOKED_AT, len(samples))).astype(int))
    chosen: list[int] = []
    for array in samples.inputs.values():
        flat = array[rows].reshape(len(rows), -1)
        filled = (flat != 0).sum(axis=1)
        for measure in (flat.sum(axis=1, dtype="float64"), filled):
            chosen += [rows[measure.argmin()], rows[measure.argmax()]]
    return {name: array[np.unique(chosen)] for name, array in samples.inputs.items()}


def otherwise(arrays: Arrays) -> Iterator[tuple[str, Arrays]]:
    """The rows with their floating numbers of another sign or size, and what that is; none for a model of integers."""
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    for what, change in _OTHERWISE.items() if floats else ():
        yield what, {**arrays, **{name: change(arrays[name]) for name in floats}}


def batch_of(samples: Samples, count: int) -> Arrays:
    """The first `count` rows, some of them again where there are fewer."""
    few = samples[:count].inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in few.items()}


def at_lengths(arrays: Arrays, workload: Workload, shares: tuple[float, ...]) -> Iterator[tuple[str, Arrays]]:
    """The arrays with each dynamic axis but the batch's cut to about these shares of its length, and what that is: length=12.

    Of text it is a length to which a request is padded.
    """
    for axis_name in sorted({name for axes in workload.axes.values() for name in axes.values()}):
        step, tried = workload.reading.widths.get(axis_name, 1), set()
        for share in shares:
            cut, length = dict(arrays), 0
            for name, axes in workload.axes.items():
                for axis in (axis for axis, named in axes.items() if named == axis_name):
                    whole = cut[name].shape[axis]
                    length = min(whole, max(step, int(whole * share) // step * step))
                    cut[name] = cut[name].take(range(length), axis=axis)
            if length not in tried:
                yield f"{axis_name}={length}", cut
            tried.add(length)


def reference_lengths(inputs: Arrays, workload: Workload) -> Iterator[tuple[str, Arrays]]:
    """The first rows at the lengths at which each file is held to torch's outputs."""
    few = {name: array[:_ROWS_AT_A_LENGTH] for name, array in inputs.items()}
    return at_lengths(few, workload, _LENGTHS)
