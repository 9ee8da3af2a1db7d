"""The traffic record: a sample of what was asked and answered, as compressed JSON lines by hour.

Of a rollout's pairs, files of their own have those that differ, whatever the share, and how many there were.

Lossy by design. A worker hands samples to a thread, which writes a whole file now and then: what a kill or a full disk
costs is the samples since the last one, and never a file that was there before.
"""

import contextlib
import gzip
import logging
import os
import random
import threading
import time
from itertools import accumulate
from pathlib import Path
from queue import Empty, Full, Queue
from typing import NamedTuple

import orjson

from infra.serving.models.execution import Done, Request
from infra.serving.models.mirror import Mirror
from infra.serving.models.pairs import Pair
from infra.serving.options import traffic_of
from infra.serving.wire.tensors import Outputs, RequestRows, cut, listed
from tasks.system.files import write_atomically

logger = logging.getLogger("slipway.serving")

QUEUE = 256

QUEUE_BYTES = 32 * 1024 * 1024
"""Of the batches that wait in it; what is more is dropped."""

MAX_ROWS = 16

PAUSE = 0.5

PAUSE_BYTES = 512 * 1024
"""What is taken between two pauses: more than a megabyte a second is not recorded."""

FILE_SECONDS = 20.0

FILE_BYTES = 4 * 1024 * 1024

MODEL_BYTES = 1024**3
"""Of samples, and as much of pairs: labels of these come a horizon later, when much may have been sampled."""

FILES_BETWEEN_EVICTIONS = 64

ENDING = ".jsonl.gz"

PAIRS = f".pairs{ENDING}"


class Sample(NamedTuple):
    """A request of a batch, from its first row on."""

    done: Done
    request: Request
    start: int
    latency: float


class Counted(NamedTuple):
    """A pair that has no line of its own: of which model, in which rollout, which version answered, and whether both agreed."""

    model: str
    run: str
    version: str
    agreed: bool


class Recorder:
    """Samples requests of one worker: one line a request, `inputs.NAME` and `outputs.NAME` with a flat list a row."""

    def __init__(self, home: Path, share: float, slot: int) -> None:
        self.share = share
        self.folder = traffic_of(home)
        self.mirror = Mirror(home)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = f"{slot}-{os.getpid()}"
        self.queue: Queue[Sample | Pair | Counted] = Queue(QUEUE)
        self.lines: dict[str, list[bytes]] = {}
        self.pairs: dict[str, list[bytes]] = {}
        self.counts: dict[tuple[str, str, str], list[int]] = {}
        self.size = self.files = self.written = self.dropped = 0
        self.taken = self.done = (
            0  # bytes: the first is written by the event loop alone, the second by the thread
        )
        self.since = time.monotonic()
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._work, name="traffic", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Write what was taken so far."""
        self.ending.set()
        self.thread.join(timeout=5)

    def saw(self, done: Done) -> None:
        """Sample the requests of a batch; what does not fit is dropped and counted."""
        if not self.share or not isinstance(done.outputs, Outputs):
            return
        start, now, size = 0, time.perf_counter(), 0
        for request in done.requests:
            if random.random() < self.share:
                size = size or size_of(done)
                self._put(Sample(done, request, start, now - request.taken), size)
            start += request.rows.length

    def noted(self, pair: Pair) -> None:
        """Keep a pair that differs, or, as of one that agreed, that there was one: left out, it would be taken for agreement."""
        if pair.agreed or not self._put(pair, size_of(pair.done)):
            self._put(_counted(pair), 0)

    def _put(self, item: "Sample | Pair | Counted", size: int) -> bool:
        try:
            if self.taken - self.done + size > QUEUE_BYTES:
                raise Full
            self.queue.put_nowait(item)
            self.taken += size
            return True
        except Full:
            self.dropped += 1
            return False

    def _work(self) -> None:
        ended = False
        while not ended:
            ended = self.ending.wait(PAUSE)
            self._take(everything=ended)
            if ended or self.size > FILE_BYTES or time.monotonic() - self.since > FILE_SECONDS:
                self._write()

    def _take(self, *, everything: bool) -> None:
        """Some of what waits, or all of it: one request that cannot be written down keeps no other from it."""
        most = self.size + PAUSE_BYTES
        with contextlib.suppress(Empty):
            while everything or self.size < most:
                item = self.queue.get_nowait()
                try:
                    self._note(item)
                except Exception as error:
                    self.dropped += 1
                    logger.error("a request cannot be recorded", exc_info=error)

    def _note(self, item: "Sample | Pair | Counted") -> None:
        if isinstance(item, Counted):
            self._count(item)
            return
        self.done += size_of(item.done)
        model = item.done.loaded.release.model
        if isinstance(item, Pair):
            self._count(_counted(item))  # also where it cannot be written down
            line = _pair_line(item)
            self.pairs.setdefault(model, []).append(line)
        else:
            line = _line(item)
            self.lines.setdefault(model, []).append(line)
        self.size += len(line)

    def _count(self, pair: "Counted") -> None:
        counted = self.counts.setdefault(pair[:3], [0, 0])
        counted[0] += 1
        counted[1] += pair.agreed

    def _write(self) -> None:
        """A file a model, and one of its pairs; what cannot be written is dropped and counted."""
        hour = time.strftime("%Y-%m-%d/%H", time.gmtime())
        for (model, run, version), (pairs, agreed) in self.counts.items():
            counted = {
                "time": time.time(),
                "rollout": run,
                "version": version,
                "pairs": pairs,
                "agreed": agreed,
            }
            line = orjson.dumps(counted, None, orjson.OPT_APPEND_NEWLINE)
            self.pairs.setdefault(model, []).append(line)
        files = [(model, ENDING, lines) for model, lines in self.lines.items()]
        files += [(model, PAIRS, lines) for model, lines in self.pairs.items()]
        for model, ending, lines in files:
            try:
                if self.files % FILES_BETWEEN_EVICTIONS == 0:
                    evict(self.folder / model, MODEL_BYTES)
                self.files += 1
                path = self.folder / model / hour / f"{time.time_ns()}-{self.name}{ending}"
                write_atomically(path, gzip.compress(b"".join(lines), compresslevel=1))
                self.mirror.copy(path)
                self.written += len(lines)
            except OSError:
                self.dropped += len(lines)
        self.lines, self.pairs, self.counts = {}, {}, {}
        self.size, self.since = 0, time.monotonic()


def _counted(pair: Pair) -> Counted:
    release = pair.done.loaded.release
    return Counted(release.model, pair.record.run, release.version, pair.agreed)


def size_of(done: Done) -> int:
    """Bytes that a sample of a batch keeps in memory: all of the batch, for its arrays are whole."""
    assert isinstance(done.outputs, Outputs)
    rows = sum(request.rows.size for request in done.requests)
    return rows + sum(array.nbytes for array in done.outputs.arrays)


def _line(sample: Sample) -> bytes:
    """One request: at most MAX_ROWS of its rows."""
    request = sample.request
    rows = min(request.rows.length, MAX_ROWS)
    said = _about(sample.done, request) | {"latency_ms": sample.latency * 1e3}
    return _dumped(said | _values(sample.done, request.rows, sample.start, rows))


def _pair_line(pair: Pair) -> bytes:
    """The row that both answered, as the client had it answered, and what the other version says of it."""
    done, row, request, record = pair.done, pair.row, pair.done.requests[0], pair.record
    about = {
        "row": row,
        "new": record.new,
        "old": record.old,
        "agreed": False,
        "other": {
            tensor.name: array[:1].reshape(-1)
            for tensor, array in zip(pair.other.spec.outputs, pair.other.arrays, strict=True)
        },
    }
    values = _values(done, cut(request.rows, row, row + 1), row, 1)
    return _dumped(_about(done, request) | {"pair": about} | values)


def _about(done: Done, request: Request) -> dict[str, object]:
    release, (id, key, lot, *_) = done.loaded.release, request.about
    about: dict[str, object] = {
        "time": time.time(),
        "id": id.decode("latin-1"),
        "version": release.version,
        "digest": release.digest,
    }
    if lot is not None:
        about |= {"rollout": lot.record.run, "weight": lot.weight}
        if key:
            about["key"] = lot.hashed(key)
    return about


def _values(done: Done, rows: RequestRows, start: int, count: int) -> dict[str, object]:
    """The first rows of a request, and what stands in the batch from `start` on."""
    assert isinstance(done.outputs, Outputs)
    inputs = done.loaded.noted([rows])
    outputs = zip(done.outputs.spec.outputs, done.outputs.arrays, strict=True)
    return {
        **{f"inputs.{name}": array[:count].reshape(count, -1) for name, array in inputs.items()},
        **{
            f"outputs.{tensor.name}": array[start : start + count].reshape(count, -1)
            for tensor, array in outputs
        },
    }


def _dumped(record: dict[str, object]) -> bytes:
    return orjson.dumps(record, listed, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def evict(folder: Path, most: int) -> None:
    """Delete a model's oldest samples until the rest takes no more than `most` bytes, and its oldest pairs; Parquet of former releases stays."""
    files = sorted((path for path in folder.glob("*/*/*") if path.suffix != ".parquet"), reverse=True)
    pairs = [path for path in files if path.name.endswith(PAIRS)]
    for newest in (pairs, [path for path in files if not path.name.endswith(PAIRS)]):
        for path, size in zip(newest, accumulate([path.stat().st_size for path in newest]), strict=True):
            if size > most:
                path.unlink(missing_ok=True)
