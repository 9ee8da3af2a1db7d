"""Recorded requests as columns, held against those of the training rows."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.arrays import Array, Arrays
from tasks.data.asked import asked_values
from tasks.data.dataset import read_frame, read_split
from tasks.monitoring.watched import Volume
from tasks.records import Dataset, TensorSpec

MOST_ROWS = 20_000

_MOST_VALUES = 200_000

_READ_AGAIN = 2_000
"""Training rows whose text or pictures are read again, to be held against what was served."""


def volume(table: pa.Table | None) -> Volume:
    """Rows by hour and by version, and the latency that the server saw."""
    if table is None:
        return Volume(rows=0)
    times, latency = table["time"].to_pylist(), table["latency_ms"].to_numpy()
    return Volume(
        rows=len(table),
        by_hour=dict(Counter(f"{time:%Y-%m-%dT%H}" for time in times)),
        by_version=dict(Counter(str(version) for version in table["version"].to_pylist())),
        first=min(times),
        last=max(times),
        p50_ms=round(float(np.percentile(latency, 50)), 3),
        p95_ms=round(float(np.percentile(latency, 95)), 3),
    )


def served_columns(table: pa.Table, inputs: tuple[TensorSpec, ...]) -> Arrays:
    """The requests' columns, named and shaped as `columns` names and shapes the training rows'."""
    table = table.slice(max(0, len(table) - MOST_ROWS))
    named: Arrays = {}
    for spec in inputs:
        if f"inputs.{spec.name}" in table.column_names:
            named |= _columns(spec, _flat(table, f"inputs.{spec.name}", spec.dtype))
    return named


def trained_inputs(dataset: Dataset) -> tuple[Arrays, tuple[TensorSpec, ...]]:
    """What the training rows have of that which the server records of a request: numbers, and of text and pictures what is watched."""
    inputs = read_split(dataset, "train").inputs
    if dataset.codec is None:
        return inputs, dataset.inputs
    frame = read_frame(dataset, "train")
    decoder, values = asked_values(dataset, frame.iloc[:: max(1, len(frame) // _READ_AGAIN)])
    watched = decoder.summaries(values)
    texts = [TensorSpec(name=name, dtype=str(a.dtype), shape=("batch",)) for name, a in watched.items()]
    numbers = [spec for spec in dataset.asked if spec.name in inputs and spec.dtype != "str"]
    return {**inputs, **watched}, (*texts, *numbers)


def columns(inputs: Arrays, specs: tuple[TensorSpec, ...]) -> Arrays:
    """Every element of a row as a column: image[12]; or, where an axis is dynamic, all values that are no padding (0)."""
    named: Arrays = {}
    for spec in specs:
        rows = len(inputs[spec.name])
        pick = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_ROWS])
        named |= _columns(spec, np.asarray(inputs[spec.name][pick]).reshape(-1))
    return named


def outputs(table: pa.Table, like: Arrays) -> Arrays:
    """The outputs of the names, row shapes and types of `like` for every row, as they were answered."""
    table = table.slice(max(0, len(table) - MOST_ROWS))
    return {
        name: _flat(table, f"outputs.{name}", str(array.dtype)).reshape(len(table), *array.shape[1:])
        for name, array in like.items()
    }


def _columns(spec: TensorSpec, flat: Array) -> Arrays:
    if any(isinstance(size, str) for size in spec.shape[1:]):
        return {spec.name: flat[flat != 0][:_MOST_VALUES]}
    size = math.prod(int(size) for size in spec.shape[1:])
    table = flat.reshape(-1, size)
    names = [spec.name] if size == 1 else [f"{spec.name}[{place}]" for place in range(size)]
    return {name: table[:, place] for place, name in enumerate(names)}


def _flat(table: pa.Table, name: str, dtype: str) -> Array:
    """All values of a column of lists; what was null in JSON (NaN, infinity) is NaN."""
    values = pc.list_flatten(table[name]).to_numpy()
    text = np.dtype(dtype).kind in "OU"
    flat: Array = values.astype(str if text else "float64" if dtype.startswith("float") else dtype)
    return flat
