"""The challenger, run on a share of real requests: off the answer's path, bounded, and compared."""

import os
import random
import sys
import threading
import time
from contextlib import suppress
from queue import Full, Queue
from typing import NamedTuple

import numpy as np

from infra.serving.models.counters import ShadowNumbers
from infra.serving.models.execution import Done, run
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.tensors import Array, Outputs, RequestRows

QUEUE = 32

MOST_BYTES = 32 * 1024 * 1024
"""Of rows and answers that wait; what is more is dropped."""

NICE = 10

FARTHEST = sys.float_info.max  # JSON has no infinity


class Task(NamedTuple):
    rows: list[RequestRows]
    answered: Outputs
    seconds: float
    size: int


class Shadow:
    """One challenger beside one slot."""

    def __init__(self, loaded: LoadedVersion, share: float) -> None:
        self.share = share
        self.queue: Queue[Task] = Queue(QUEUE)
        self.taken = self.done = (
            0  # bytes: the first is written by the event loop alone, the second by the thread
        )
        self.counted: dict[str, ShadowNumbers] = {}
        self.swap(loaded)
        self.thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self.thread.start()

    def swap(self, loaded: LoadedVersion) -> None:
        """Another challenger; what was counted for those before is kept."""
        version = loaded.release.version
        self.loaded = loaded
        self.numbers = self.counted.setdefault(version, ShadowNumbers(loaded.release.model, version))

    def saw(self, done: Done) -> None:
        """Take a batch along, or drop it: an answer never waits for this."""
        if not isinstance(done.outputs, Outputs) or random.random() >= self.share:
            return
        rows = [request.rows for request in done.requests]
        size = sum(each.size for each in rows) + sum(array.nbytes for array in done.outputs.arrays)
        if self.taken - self.done + size > MOST_BYTES:
            self.numbers.dropped += 1
            return
        try:
            self.queue.put_nowait(Task(rows, done.outputs, done.seconds, size))
            self.taken += size
        except Full:
            self.numbers.dropped += 1

    def _work(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            task, numbers = self.queue.get(), self.numbers
            try:
                self._compare(task, self.loaded, numbers)
            except Exception:
                numbers.failed += 1
            self.done += task.size

    def _compare(self, task: Task, loaded: LoadedVersion, numbers: ShadowNumbers) -> None:
        start = time.perf_counter()
        outputs = run(loaded, task.rows, loaded.pace.batch)
        numbers.latency.add(time.perf_counter() - start)
        numbers.champion.add(task.seconds)
        same, largest = agreement(task.answered.arrays[0], outputs.arrays[0])
        numbers.rows += len(same)
        numbers.agreed += int(same.sum())
        numbers.largest_difference = max(numbers.largest_difference, largest)


def agreement(left: Array, right: Array) -> tuple[Array, float]:
    """Row by row, whether two outputs say the same (the same class, or numbers within a hundredth), and the largest gap."""
    if left.dtype.kind == "O" or right.dtype.kind == "O":
        same = np.array(
            [one == other for one, other in zip(left.tolist(), right.tolist(), strict=False)], bool
        )
        return same, 0.0 if same.all() else 1.0
    left, right = (
        left.reshape(len(left), -1).astype(np.float64),
        right.reshape(len(right), -1).astype(np.float64),
    )
    if left.shape != right.shape:
        return np.zeros(len(left), bool), FARTHEST
    gap = float(np.nan_to_num(np.abs(left - right), nan=FARTHEST).max(initial=0.0))
    if left.shape[1] > 1:
        return left.argmax(1) == right.argmax(1), gap
    return np.isclose(left[:, 0], right[:, 0], rtol=0.01, equal_nan=True), gap
