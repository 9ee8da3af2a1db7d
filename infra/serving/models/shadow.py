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

NICE = 10

FARTHEST = sys.float_info.max  # JSON has no infinity


class Task(NamedTuple):
    rows: list[RequestRows]
    answered: Outputs
    seconds: float


class Shadow:
    """One challenger beside one slot."""

    def __init__(self, loaded: LoadedVersion, share: float) -> None:
        self.share = share
        self.queue: Queue[Task] = Queue(QUEUE)
        self.swap(loaded)
        self.thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self.thread.start()

    def swap(self, loaded: LoadedVersion) -> None:
        """Another challenger; what was counted for the last one is forgotten."""
        self.loaded = loaded
        self.numbers = ShadowNumbers(loaded.release.model, loaded.release.version)

    def saw(self, done: Done) -> None:
        """Take a batch along, or drop it: an answer never waits for this."""
        if not isinstance(done.outputs, Outputs) or random.random() >= self.share:
            return
        try:
            self.queue.put_nowait(
                Task([request.rows for request in done.requests], done.outputs, done.seconds)
            )
        except Full:
            self.numbers.dropped += 1

    def _work(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            self._compare(self.queue.get())

    def _compare(self, task: Task) -> None:
        loaded, numbers, start = self.loaded, self.numbers, time.perf_counter()
        try:
            outputs = run(loaded, task.rows, loaded.pace.batch)
        except Exception:
            numbers.failed += 1
            return
        numbers.latency.add(time.perf_counter() - start)
        numbers.champion.add(task.seconds)
        same, largest = agreement(task.answered.arrays[0], outputs.arrays[0])
        numbers.rows += len(same)
        numbers.agreed += int(same.sum())
        numbers.largest_difference = max(numbers.largest_difference, largest)


def agreement(left: Array, right: Array) -> tuple[Array, float]:
    """Row by row, whether two outputs say the same (the same class, or numbers within a hundredth), and the largest gap."""
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
