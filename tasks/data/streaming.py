"""A source larger than memory → Dataset: two passes over its row groups, each row's arrays appended where they belong."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks.config import Data
from tasks.data.arrays import arrays_of, classes_of
from tasks.data.fingerprint import row_hashes
from tasks.data.schema import before, validated
from tasks.data.splits import SPLITS
from tasks.errors import UserError
from tasks.system.files import write_atomically
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    from tasks.workloads.sources import Stream

    Array = np.ndarray[Any, Any]

_MEMORY = "row-groups.json"

_CHUNK = 4_000_000


def stream_fingerprint(stream: "Stream", root: Path) -> str:
    """SHA-256 over the schema and the stored bytes of every row group, in order.

    What was read once is kept under `root` by the file's name, size and version, so that new files alone are read. The
    same rows in other files, or compressed otherwise, count as other data: telling would need all of them decoded.
    """
    known = _recall(root / _MEMORY)
    found: dict[str, list[str]] = {}
    for info, content, file in stream.files():
        version = next((str(info[name]) for name in ("ETag", "etag", "mtime") if info.get(name)), None)
        key = json.dumps([info["name"], info["size"], version, stream.columns])
        found[key] = known[key] if version is not None and key in known else list(_digests(file, content))
    write_atomically(root / _MEMORY, json.dumps({**known, **found}).encode())
    return hashlib.sha256(json.dumps(list(found.values())).encode()).hexdigest()


def _digests(file: "pq.ParquetFile", content: IO[bytes]) -> Iterator[str]:
    """Of each row group: its columns' names and types, and its bytes as they are stored."""
    schema = str(file.schema_arrow.remove_metadata()).encode()
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        digest = hashlib.sha256(schema)
        for place in range(group.num_columns):
            column = group.column(place)
            content.seek(column.dictionary_page_offset or column.data_page_offset)
            left = column.total_compressed_size
            while left > 0 and (chunk := content.read(min(left, _CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
        yield digest.hexdigest()


def _recall(path: Path) -> dict[str, list[str]]:
    try:
        known: dict[str, list[str]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known


@dataclass(frozen=True)
class Written:
    """What was written of a dataset: rows by split, some rows of each array (the target last), and what is known of all."""

    rows: dict[str, int]
    arrays: "dict[str, Array]"
    classes: tuple[str, ...] | None
    newest: str | None


def write_stream(workload: Workload, stream: "Stream", config: Data, folder: Path) -> Written:
    """Every split's arrays and Parquet under `folder`, one row group in memory at a time.

    The rows and their splits are those that the same source would give when it is loaded whole. Raises UserError for
    rows that break the schema (named with their place in their row group) and for a target that cannot be learned.
    """
    classify = workload.kind == "classification"
    found = survey(stream, workload.target, workload.time, classify, config)
    if not found.rows:
        until = f" before {config.until}" if config.until else ""
        raise UserError(f"Workload {workload.name}: {stream.url} has no rows{until}; check its source.")
    if classify and len(found.values) < 2:
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is always {found.values[0]!s}; a classifier needs two classes."
        )
    classes = classes_of(found.values) if classify else None
    growing = {name: Growing(folder / name) for name in SPLITS}
    arrays: dict[str, Array] = {}
    try:
        for frame in stream.frames():
            frame = before(frame, workload.time, config)
            if frame.empty:
                continue
            frame = validated(workload, frame)
            which = places(frame, config, workload.time, found)
            for number, name in enumerate(SPLITS):
                if (which == number).any():
                    rows = frame[which == number].reset_index(drop=True)
                    arrays = arrays_of(workload, rows, classes)
                    growing[name].append(arrays, rows)
    finally:
        for one in growing.values():
            one.close()
    return Written(
        {name: one.rows for name, one in growing.items() if one.rows}, arrays, classes, found.newest
    )


@dataclass(frozen=True)
class Survey:
    """What has to be known of all rows before any can be stored: how many, which classes, and where the splits are cut."""

    rows: int
    values: "tuple[Any, ...]"
    bounds: "tuple[Any, ...] | None"
    newest: str | None


def survey(stream: "Stream", target: str, time: str | None, classify: bool, config: Data) -> Survey:
    """The first pass, over the target and the time alone: eight bytes a row stay in memory where rows are in time."""
    import numpy as np
    import pandas as pd

    rows, values, moments = 0, set(), []
    for frame in stream.frames([name for name in (target, time) if name is not None]):
        frame = before(frame, time, config)
        for what, name in (("Target", target), ("The time", time)):
            if name is not None and (missing := int(frame[name].isna().sum())):
                raise UserError(
                    f"{what} {name!r} is empty in {missing} rows: drop or fill them in the source."
                )
        rows += len(frame)
        values |= set(frame[target].unique()) if classify else set()
        moments += [frame[time].to_numpy("datetime64[ns]")] if time is not None else []
    if time is None or rows == 0:
        return Survey(rows, tuple(sorted(values)), None, None)
    ordered = np.concatenate(moments)
    ordered.sort()
    cuts = [rows * (1 - config.validation - config.test), rows * (1 - config.test)]
    starts = [ordered[min(rows - 1, int(np.ceil(cut)))] for cut in cuts]
    # A moment's rows stay together: they go where the first of them would, as in tasks/data.py.
    inside = [np.searchsorted(ordered, moment) >= cut for moment, cut in zip(starts, cuts, strict=True)]
    after = [moment if fits else _next(ordered, moment) for moment, fits in zip(starts, inside, strict=True)]
    return Survey(rows, tuple(sorted(values)), tuple(after), str(pd.Timestamp(ordered[-1])))


def _next(ordered: "Array", moment: Any) -> Any:
    import numpy as np

    place = int(np.searchsorted(ordered, moment, "right"))
    return ordered[place] if place < len(ordered) else ordered[-1] + np.timedelta64(1, "ns")


def places(frame: "pd.DataFrame", config: Data, time: str | None, found: Survey) -> "Array":
    """Each row's split, 0 to 2: what tasks.data.split would say of the whole frame."""
    import numpy as np

    if time is None:
        position = row_hashes(frame, config.salt) / 2.0**64
        return np.digitize(position, (1 - config.validation - config.test, 1 - config.test))
    assert found.bounds is not None
    which: Array = np.searchsorted(np.array(found.bounds), frame[time].to_numpy("datetime64[ns]"), "right")
    return which


@dataclass
class Growing:
    """One split's folder: arrays and Parquet that rows are appended to."""

    folder: Path
    rows: int = 0
    _files: "dict[str, tuple[IO[bytes], Any]]" = field(default_factory=dict)
    _frames: Any = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def append(self, arrays: "dict[str, Array]", frame: "pd.DataFrame") -> None:
        """Raises UserError when a later row group has another shape or type than the first."""
        import pyarrow as pa
        import pyarrow.parquet as pq

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
        from numpy.lib import format

        file, first = self._files[name]
        described = {**format.header_data_from_array_1_0(first), "shape": (self.rows, *first.shape[1:])}
        format.write_array_header_1_0(file, described)
