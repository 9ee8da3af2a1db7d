"""Requests and their answers as the model server recorded them: TRAFFIC/MODEL/DAY/HOUR/*.jsonl.gz, a line a request.

Releases before kept Parquet there, a row a served row, which is read too. Rows that two versions answered lie beside them, in
*.pairs.jsonl.gz: they were chosen, and are no sample of what is asked.
"""

import datetime
import gzip
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet

log = logging.getLogger("slipway")

PAIRS = ".pairs.jsonl.gz"

_SOMETIMES = {"id": pa.string(), "key": pa.string(), "rollout": pa.string(), "weight": pa.float64()}
"""What only some lines say of their request."""

_ALL = ("inputs.", "outputs.")


def traffic_of(home: Path, model: str) -> Path:
    return home / "traffic" / model


def read_traffic(folder: Path, since: datetime.datetime, wanted: tuple[str, ...] = _ALL) -> pa.Table | None:
    """The rows that were answered after `since`, of every version; None when there are none.

    `row` is a row's place in its request; of inputs and outputs those come whose names begin with one of `wanted`.
    """
    tables = [table for path in _files(folder, since) if (table := _read(path, wanted)) is not None]
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="permissive")
    table = table.filter(pc.greater_equal(table["time"], pa.scalar(since, table["time"].type)))
    return table if len(table) else None


def _read(path: Path, wanted: tuple[str, ...]) -> pa.Table | None:
    """One file, a row a served row; None, said in the log, for one that cannot be read: the others still can."""
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path, partitioning=None)
        return _by_row(gzip.decompress(path.read_bytes()), wanted)
    except (pa.ArrowException, OSError, EOFError, ValueError, zlib.error) as error:
        log.warning("%s is left out, it cannot be read: %s", path, error)
        return None


def _by_row(lines: bytes, wanted: tuple[str, ...]) -> pa.Table:
    """Lines of requests as the rows that they asked for, each with what is said of its request."""
    schema = _schema_of(json.loads(lines[: lines.index(b"\n")]), wanted)
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    whole = pyarrow.json.ReadOptions(block_size=len(lines) + 1)  # a line over two blocks is an error
    table = pyarrow.json.read_json(pa.BufferReader(lines), whole, parse).combine_chunks()
    microseconds = pc.cast(pc.multiply(table["time"], 1e6), pa.int64(), safe=False)
    table = table.set_column(0, "time", pc.cast(microseconds, pa.timestamp("us", "UTC")))
    request = pc.list_parent_indices(table[-1])
    rows = {
        name: pc.list_flatten(column) if pa.types.is_list(column.type) else column.take(request)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    _, first, which = np.unique(request.to_numpy(), return_index=True, return_inverse=True)
    return pa.table({**rows, "row": np.arange(len(which)) - first[which]})


def _schema_of(line: dict[str, Any], wanted: tuple[str, ...]) -> pa.Schema:
    """The types of a file's columns, from its first line: the server writes a float with a point, or as null."""

    def type_of(value: Any) -> pa.DataType:
        if isinstance(value, list):
            first = next((leaf for row in value for leaf in row if leaf is not None), None)
            kind = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}.get(type(first), pa.float64())
            return pa.list_(pa.list_(kind))
        return pa.string() if isinstance(value, str) else pa.float64()

    types = {name: type_of(value) for name, value in line.items()}
    lists = {name: kind for name, kind in types.items() if pa.types.is_list(kind)}
    asked = {name: kind for name, kind in lists.items() if name.startswith(wanted)}
    return pa.schema(
        {**{name: kind for name, kind in types.items() if name not in lists}, **_SOMETIMES, **asked}
    )


def _files(folder: Path, since: datetime.datetime) -> Iterator[Path]:
    """Of the hours from `since` on."""
    earliest = since.strftime("%Y-%m-%d/%H")
    for path in sorted(folder.glob("*/*/*")):
        recorded = path.suffix in (".gz", ".parquet") and not path.name.endswith(PAIRS)
        if recorded and f"{path.parent.parent.name}/{path.parent.name}" >= earliest:
            yield path
