"""The traffic record: a sample of what was asked and answered, as Parquet by hour.

Lossy by design. A worker hands samples to a thread, which appends them to a spool file of lines; a short-lived process
(`python -m infra.serving.models.recording HOME`) turns spool files into Parquet, so that no worker carries pyarrow.
"""

import contextlib
import os
import random
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import orjson

from infra.serving.models.execution import Done, Request
from infra.serving.options import spool_of
from infra.serving.wire.tensors import Outputs, assemble

QUEUE = 256

MAX_ROWS = 16

MAX_SPOOL = 64 * 1024 * 1024

PAUSE = 0.5

SETTLE = 0.1


class Recorder:
    """Samples requests of one worker into its spool."""

    def __init__(self, home: Path, share: float, slot: int) -> None:
        self.share = share
        self.folder = spool_of(home)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = f"{slot}-{os.getpid()}"
        self.queue: Queue[tuple[Done, Request, int, float]] = Queue(QUEUE)
        self.written = self.dropped = 0
        threading.Thread(target=self._work, name="traffic", daemon=True).start()

    def saw(self, done: Done) -> None:
        """Sample the requests of a batch; what does not fit is dropped and counted."""
        if not isinstance(done.outputs, Outputs):
            return
        start, now = 0, time.perf_counter()
        for job in done.requests:
            if random.random() < self.share:
                try:
                    self.queue.put_nowait((done, job, start, now - job.taken))
                except Full:
                    self.dropped += 1
            start += job.rows.length

    def _work(self) -> None:
        while True:
            lines = [self._line(*self.queue.get())]
            with contextlib.suppress(Empty):
                while len(lines) < QUEUE:
                    lines.append(self._line(*self.queue.get_nowait()))
            try:
                self._append(b"".join(lines))
                self.written += len(lines)
            except OSError:
                self.dropped += len(lines)
            time.sleep(PAUSE)

    def _append(self, data: bytes) -> None:
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime())
        path = self.folder / f"{hour}.{self.name}.jsonl"
        if path.exists() and path.stat().st_size > MAX_SPOOL:
            raise OSError("the spool is full")
        with path.open("ab") as file:
            file.write(data)

    def _line(self, done: Done, job: Request, start: int, latency: float) -> bytes:
        """One request: at most MAX_ROWS of its rows."""
        assert isinstance(done.outputs, Outputs)
        rows, release = min(job.rows.length, MAX_ROWS), done.loaded.release
        record = {
            "time": time.time(),
            "model": release.model,
            "version": release.version,
            "digest": release.digest,
            "latency_ms": latency * 1e3,
            "inputs": {name: array[:rows] for name, array in assemble(done.loaded.spec, [job.rows]).items()},
            "outputs": {
                tensor.name: array[start : start + rows]
                for tensor, array in zip(done.outputs.spec.outputs, done.outputs.arrays, strict=True)
            },
        }
        return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def rows_of_line(line: bytes) -> list[dict[str, Any]]:
    """The rows of one spooled request, each with its inputs and outputs flattened."""
    record = orjson.loads(line)
    inputs, outputs = record.pop("inputs"), record.pop("outputs")
    columns = {f"inputs.{name}": values for name, values in inputs.items()}
    columns |= {f"outputs.{name}": values for name, values in outputs.items()}
    count = len(next(iter(columns.values())))
    return [{**record, **{name: flat(values[at]) for name, values in columns.items()}} for at in range(count)]


def flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return (
        [item for inner in value for item in flat(inner)] if value and isinstance(value[0], list) else value
    )


def convert(home: Path) -> int:
    """Turn every spool file into Parquet under traffic/MODEL/YYYY-MM-DD/HH; gives back the rows written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = 0
    for spool in sorted(spool_of(home).glob("*.jsonl")):
        taken = spool.with_suffix(f".{time.time_ns()}.taken")
        try:
            spool.rename(taken)
        except FileNotFoundError:
            continue  # another converter took it
        if time.time() - taken.stat().st_mtime < SETTLE:
            time.sleep(SETTLE)  # a worker that had it open writes its last lines
        by_model: dict[str, list[dict[str, Any]]] = {}
        for line in taken.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                for row in rows_of_line(line):
                    by_model.setdefault(row.pop("model"), []).append(row)
        day, hour = spool.name.split(".")[0].split("T")
        for model, rows in by_model.items():
            table = pa.Table.from_pylist(rows)
            moments = pa.array([int(row["time"] * 1e6) for row in rows], pa.timestamp("us", "UTC"))
            table = table.set_column(table.schema.get_field_index("time"), "time", moments)
            folder = home / "traffic" / model / day / hour
            folder.mkdir(parents=True, exist_ok=True)
            final = folder / f"{time.time_ns()}-{os.getpid()}.parquet"
            pq.write_table(table, final.with_suffix(".tmp"), compression="zstd")
            final.with_suffix(".tmp").rename(final)
            total += len(rows)
        taken.unlink()
    return total


if __name__ == "__main__":
    print(convert(Path(sys.argv[1])))
