"""What was asked and answered, as the model server recorded it: TRAFFIC/MODEL/DAY/HOUR/*.parquet, one row a served row."""

import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.records import TensorSpec
from tasks.system.frozen import Frozen

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

MOST_ROWS = 20_000

_MOST_VALUES = 200_000


class Volume(Frozen):
    """How much was recorded, and how fast it was answered."""

    rows: int
    by_hour: dict[str, int] = {}
    by_version: dict[str, int] = {}
    first: datetime.datetime | None = None
    last: datetime.datetime | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


def read_traffic(folder: Path, since: datetime.datetime) -> "pa.Table | None":
    """The rows that were answered after `since`, of every version; None when there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, partitioning=None) for path in _files(folder, since)]
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="permissive")
    table = table.filter(pc.greater_equal(table["time"], pa.scalar(since, table["time"].type)))
    return table if len(table) else None


def volume(table: "pa.Table | None") -> Volume:
    """Rows by hour and by version, and the latency that the server saw."""
    import numpy as np

    if table is None:
        return Volume(rows=0)
    times, latency = table["time"].to_pylist(), table["latency_ms"].to_numpy()
    return Volume(
        rows=len(table),
        by_hour=_count(f"{time:%Y-%m-%dT%H}" for time in times),
        by_version=_count(str(version) for version in table["version"].to_pylist()),
        first=min(times),
        last=max(times),
        p50_ms=round(float(np.percentile(latency, 50)), 3),
        p95_ms=round(float(np.percentile(latency, 95)), 3),
    )


def served_columns(table: "pa.Table", inputs: tuple[TensorSpec, ...]) -> "dict[str, Array]":
    """The requests' columns, named and shaped as `columns` names and shapes the training rows'."""
    table = table.slice(max(0, len(table) - MOST_ROWS))
    found: dict[str, Array] = {}
    for spec in inputs:
        if f"inputs.{spec.name}" in table.column_names:
            found |= _columns(spec, _flat(table, f"inputs.{spec.name}", spec.dtype))
    return found


def columns(inputs: "dict[str, Array]", specs: tuple[TensorSpec, ...]) -> "dict[str, Array]":
    """Every element of a row as a column: image[12]; or, where an axis is dynamic, all values that are no padding (0)."""
    import numpy as np

    found: dict[str, Array] = {}
    for spec in specs:
        rows = len(inputs[spec.name])
        pick = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_ROWS])
        found |= _columns(spec, np.asarray(inputs[spec.name][pick]).reshape(-1))
    return found


def outputs(table: "pa.Table") -> "Array":
    """The first output of every row, [n, ...], as it was answered."""
    name = next(name for name in table.column_names if name.startswith("outputs."))
    table = table.slice(max(0, len(table) - MOST_ROWS))
    return _flat(table, name, "float32").reshape(len(table), -1)


def _columns(spec: TensorSpec, flat: "Array") -> "dict[str, Array]":
    if any(isinstance(size, str) for size in spec.shape[1:]):
        return {spec.name: flat[flat != 0][:_MOST_VALUES]}
    size = math.prod(int(size) for size in spec.shape[1:])
    table = flat.reshape(-1, size)
    names = [spec.name] if size == 1 else [f"{spec.name}[{place}]" for place in range(size)]
    return {name: table[:, place] for place, name in enumerate(names)}


def _flat(table: "pa.Table", name: str, dtype: str) -> "Array":
    """All values of a column of lists; what was null in JSON (NaN, infinity) is NaN."""
    import pyarrow.compute as pc

    values = pc.list_flatten(table[name]).to_numpy()
    flat: Array = values.astype("float64" if dtype.startswith("float") else dtype)
    return flat


def _files(folder: Path, since: datetime.datetime) -> Iterator[Path]:
    """Of the hours from `since` on."""
    earliest = since.strftime("%Y-%m-%d/%H")
    for path in sorted(folder.glob("*/*/*.parquet")):
        if f"{path.parent.parent.name}/{path.parent.name}" >= earliest:
            yield path


def _count(names: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
