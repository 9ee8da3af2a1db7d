"""The traffic record: a sample of what was asked and answered, as compressed JSON lines by hour.

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

import orjson

from infra.serving.models.execution import Done, Request
from infra.serving.options import traffic_of
from infra.serving.wire.tensors import Outputs, listed
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

FILES_BETWEEN_EVICTIONS = 64


class Recorder:
    """Samples requests of one worker: one line a request, `inputs.NAME` and `outputs.NAME` with a flat list a row."""

    def __init__(self, home: Path, share: float, slot: int) -> None:
        self.share = share
        self.folder = traffic_of(home)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = f"{slot}-{os.getpid()}"
        self.queue: Queue[tuple[Done, Request, int, float]] = Queue(QUEUE)
        self.lines: dict[str, list[bytes]] = {}
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
        if not isinstance(done.outputs, Outputs):
            return
        start, now, size = 0, time.perf_counter(), 0
        for request in done.requests:
            if random.random() < self.share:
                size = size or size_of(done)
                try:
                    if self.taken - self.done + size > QUEUE_BYTES:
                        raise Full
                    self.queue.put_nowait((done, request, start, now - request.taken))
                    self.taken += size
                except Full:
                    self.dropped += 1
            start += request.rows.length

    def _work(self) -> None:
        ended = False
        while not ended:
            ended = self.ending.wait(PAUSE)
            try:
                self._take()
            except Exception as error:  # one request that cannot be written down is no reason to stop
                self.dropped += 1
                logger.error("a request cannot be recorded", exc_info=error)
            if ended or self.size > FILE_BYTES or time.monotonic() - self.since > FILE_SECONDS:
                self._write()

    def _take(self) -> None:
        most = self.size + PAUSE_BYTES
        with contextlib.suppress(Empty):
            while self.size < most:
                sample = self.queue.get_nowait()
                self.done += size_of(sample[0])
                line = _line(*sample)
                self.lines.setdefault(sample[0].loaded.release.model, []).append(line)
                self.size += len(line)

    def _write(self) -> None:
        """A file a model; what cannot be written is dropped and counted."""
        hour = time.strftime("%Y-%m-%d/%H", time.gmtime())
        for model, lines in self.lines.items():
            try:
                if self.files % FILES_BETWEEN_EVICTIONS == 0:
                    evict(self.folder / model, MODEL_BYTES)
                self.files += 1
                path = self.folder / model / hour / f"{time.time_ns()}-{self.name}.jsonl.gz"
                write_atomically(path, gzip.compress(b"".join(lines), compresslevel=1))
                self.written += len(lines)
            except OSError:
                self.dropped += len(lines)
        self.lines, self.size, self.since = {}, 0, time.monotonic()


def size_of(done: Done) -> int:
    """Bytes that a sample of a batch keeps in memory: all of the batch, for its arrays are whole."""
    assert isinstance(done.outputs, Outputs)
    rows = sum(request.rows.size for request in done.requests)
    return rows + sum(array.nbytes for array in done.outputs.arrays)


def _line(done: Done, request: Request, start: int, latency: float) -> bytes:
    """One request: at most MAX_ROWS of its rows."""
    assert isinstance(done.outputs, Outputs)
    rows, release = min(request.rows.length, MAX_ROWS), done.loaded.release
    inputs = done.loaded.noted([request.rows])
    outputs = zip(done.outputs.spec.outputs, done.outputs.arrays, strict=True)
    record = {
        "time": time.time(),
        "version": release.version,
        "digest": release.digest,
        "latency_ms": latency * 1e3,
        **{f"inputs.{name}": array[:rows].reshape(rows, -1) for name, array in inputs.items()},
        **{
            f"outputs.{tensor.name}": array[start : start + rows].reshape(rows, -1)
            for tensor, array in outputs
        },
    }
    return orjson.dumps(record, listed, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def evict(folder: Path, most: int) -> None:
    """Delete a model's oldest files until the rest takes no more than `most` bytes; Parquet of former releases stays."""
    newest = sorted((path for path in folder.glob("*/*/*") if path.suffix != ".parquet"), reverse=True)
    for path, size in zip(newest, accumulate([path.stat().st_size for path in newest]), strict=True):
        if size > most:
            path.unlink(missing_ok=True)
