"""A source larger than memory → Dataset: two passes over its row groups, each row's arrays appended where they belong."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format

from tasks.config import Data
from tasks.data.arrays import arrays_of, learn, look_at, sampling_arrays
from tasks.data.schema import check_filled, rows_before, validated
from tasks.data.splits import SPLITS, rows_in, split_numbers, time_cuts
from tasks.data.times import Shared, instants, newest_of, shared_instant
from tasks.errors import UserError
from tasks.records import Fitted
from tasks.system.files import write_atomically
from tasks.workloads.sources import Stream
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]

_DIGESTS = "row-groups.json"


def stream_fingerprint(stream: Stream, root: Path) -> str:
    """SHA-256 over the schema and the stored bytes of every row group, in order.

    What was read once is kept under `root` by the file's name, size and version, so that new files alone are read. The
    same rows in other files, or compressed otherwise, count as other data: telling would need all of them decoded.
    """
    kept = _kept_digests(root / _DIGESTS)
    digests: dict[str, list[str]] = {}
    for info, content, file in stream.files():
        version = next((str(info[name]) for name in ("ETag", "etag", "mtime") if info.get(name)), None)
        key = json.dumps([info["name"], info["size"], version, stream.columns])
        digests[key] = kept[key] if version is not None and key in kept else list(_digests(file, content))
    write_atomically(root / _DIGESTS, json.dumps({**kept, **digests}).encode())
    return hashlib.sha256(json.dumps(list(digests.values())).encode()).hexdigest()


def _digests(file: pq.ParquetFile, content: IO[bytes]) -> Iterator[str]:
    """Of each row group: its columns' names and types, and its bytes as they are stored."""
    schema = str(file.schema_arrow.remove_metadata()).encode()
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        digest = hashlib.sha256(schema)
        for place in range(group.num_columns):
            column = group.column(place)
            content.seek(column.dictionary_page_offset or column.data_page_offset)
            digest.update(content.read(column.total_compressed_size))
        yield digest.hexdigest()


def _kept_digests(path: Path) -> dict[str, list[str]]:
    try:
        digests: dict[str, list[str]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return digests


@dataclass(frozen=True)
class Written:
    """What was written of a dataset: rows by split, some rows of each array (the targets last), and what holds for all."""

    rows: dict[str, int]
    arrays: dict[str, Array]
    fitted: tuple[Fitted, ...]
    newest: str | None
    shared: Shared | None = None


def write_stream(workload: Workload, stream: Stream, config: Data, folder: Path) -> Written:
    """Every split's arrays and Parquet under `folder`, one row group in memory at a time.

    The rows and their splits are those that the same source would give when it is loaded whole. Raises UserError for
    rows that break the schema (named with their place in their row group) and for a target that cannot be learned.
    """
    summary = _summarise(stream, workload, config)
    if not summary.rows:
        until = f" before {config.until}" if config.until else ""
        raise UserError(f"Workload {workload.name}: {stream.url} has no rows{until}; check its source.")
    fitted = learn(workload, summary.looks)
    arrays: dict[str, Array] = {}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(closing(_SplitWriter(folder / name))) for name in SPLITS}
        for frame in stream.frames():
            frame = rows_before(frame, workload.time, config)
            if not frame.empty:
                frame = validated(workload, frame)
                numbers = split_numbers(frame, config, workload.sampling, summary.cuts)
                for name, chosen in rows_in(numbers, workload.train is not None).items():
                    if chosen.any():
                        rows = frame[chosen].reset_index(drop=True)
                        arrays = arrays_of(workload, rows, fitted)
                        beside = sampling_arrays(rows, workload.sampling)
                        writers[name].append({**arrays, **beside}, rows)
    written = {name: writer.rows for name, writer in writers.items() if writer.rows}
    return Written(written, arrays, fitted, summary.newest, summary.shared)


@dataclass(frozen=True)
class _Summary:
    """What has to be known of all rows before any can be stored: how many, what goals look at, and where the splits are cut."""

    rows: int
    looks: tuple[tuple[Any, ...], ...] = ()
    cuts: Array | None = None
    newest: str | None = None
    shared: Shared | None = None


def _summarise(stream: Stream, workload: Workload, config: Data) -> _Summary:
    """The first pass, over the targets and what cuts the rows: eight bytes a row stay in memory where they are in time."""
    rows, count, looks, newest, moments, groups = workload.sampling, 0, [], [], [], []
    for frame in stream.frames([*dict.fromkeys((*workload.targets, *rows.columns))]):
        frame = rows_before(frame, rows.time, config)
        check_filled(workload, frame)
        count += len(frame)
        looks.append(look_at(workload, frame))
        if rows.time is not None and len(frame):
            moments.append(instants(frame[rows.time]))
            newest.append((moments[-1].max(), newest_of(frame[rows.time])))
            groups.append(None if rows.group is None else frame[rows.group])
    if rows.time is None or count == 0:
        return _Summary(count, tuple(looks))
    times = np.concatenate(moments)
    all_groups = None if rows.group is None else pd.concat(groups, ignore_index=True)
    cuts = time_cuts(times, all_groups, config, rows)
    return _Summary(count, tuple(looks), cuts, max(newest)[1], shared_instant(times))


@dataclass
class _SplitWriter:
    """One split's folder: arrays and Parquet that rows are appended to."""

    folder: Path
    rows: int = 0
    _files: dict[str, tuple[IO[bytes], Any]] = field(default_factory=dict)
    _frames: Any = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def append(self, arrays: dict[str, Array], frame: pd.DataFrame) -> None:
        """Raises UserError when a later row group has another shape or type than the first."""
        if self._frames is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            schema = pa.Schema.from_pandas(frame, preserve_index=False)
            self._frames = self._stack.enter_context(pq.ParquetWriter(self.folder / "frame.parquet", schema))
        self._frames.write_table(
            pa.Table.from_pandas(frame, schema=self._frames.schema, preserve_index=False)
        )
        for name, array in arrays.items():
            if name not in self._files:
                opened = self._stack.enter_context((self.folder / f"{name}.npy").open("wb"))
                self._files[name] = (opened, array[:0])
                self._write_header(name)
            file, first = self._files[name]
            if array.shape[1:] != first.shape[1:] or array.dtype != first.dtype:
                raise UserError(
                    f"inputs()[{name!r}] is {array.dtype}{list(array.shape[1:])} in one part of the rows and "
                    f"{first.dtype}{list(first.shape[1:])} in another: give them one shape."
                )
            file.write(array.tobytes())
        self.rows += len(frame)

    def close(self) -> None:
        """Say in each array's header how many rows it came to have."""
        for name, (file, _) in self._files.items():
            file.seek(0)
            self._write_header(name)
        self._stack.close()

    def _write_header(self, name: str) -> None:
        """numpy leaves room in it for any number of rows."""
        file, first = self._files[name]
        described = {**format.header_data_from_array_1_0(first), "shape": (self.rows, *first.shape[1:])}
        format.write_array_header_1_0(file, described)
