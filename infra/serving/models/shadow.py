"""The challenger, run on a share of real requests: off the answer's path, bounded, and compared."""

import os
import random
import threading
import time
from contextlib import suppress
from queue import Full, Queue
from typing import NamedTuple

import numpy as np

from infra.serving.models.counters import LATENCY, Histogram
from infra.serving.models.execution import Done, run
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.tensors import Array, Outputs, RequestRows

QUEUE = 32

NICE = 10


class Task(NamedTuple):
    rows: list[RequestRows]
    answered: Outputs
    seconds: float


class Shadow:
    """One challenger beside one slot."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.loaded: LoadedVersion | None = None
        self.queue: Queue[Task | None] = Queue(QUEUE)
        self.rows = self.agreed = self.dropped = self.failed = 0
        self.largest = 0.0
        self.latency = Histogram(LATENCY)
        self.champion = Histogram(LATENCY)
        self.thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self.thread.start()

    def swap(self, loaded: LoadedVersion) -> None:
        """Another challenger; what was counted for the last one is forgotten."""
        self.loaded = loaded
        self.rows = self.agreed = self.dropped = self.failed = 0
        self.largest = 0.0

    def saw(self, done: Done) -> None:
        """Take a batch along, or drop it: an answer never waits for this."""
        if self.loaded is None or not isinstance(done.outputs, Outputs) or random.random() >= self.share:
            return
        try:
            self.queue.put_nowait(
                Task([request.rows for request in done.requests], done.outputs, done.seconds)
            )
        except Full:
            self.dropped += 1

    def _work(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while (task := self.queue.get()) is not None:
            if (loaded := self.loaded) is not None:
                self._compare(loaded, task)

    def _compare(self, loaded: LoadedVersion, task: Task) -> None:
        start = time.perf_counter()
        try:
            outputs = run(loaded, task.rows, loaded.pace.batch)
        except Exception:
            self.failed += 1
            return
        self.latency.add(time.perf_counter() - start)
        self.champion.add(task.seconds)
        same, largest = agreement(task.answered.arrays[0], outputs.arrays[0])
        self.rows += len(same)
        self.agreed += int(same.sum())
        self.largest = max(self.largest, largest)

    def dump(self) -> dict[str, object]:
        return {
            "version": None if self.loaded is None else self.loaded.release.version,
            "rows": self.rows,
            "agreed": self.agreed,
            "dropped": self.dropped,
            "failed": self.failed,
            "largest_difference": self.largest,
            "latency": self.latency.dump(),
            "champion": self.champion.dump(),
        }


def agreement(left: Array, right: Array) -> tuple[Array, float]:
    """Row by row, whether two outputs say the same (the same class, or numbers within a hundredth), and the largest gap."""
    left, right = (
        left.reshape(len(left), -1).astype(np.float64),
        right.reshape(len(right), -1).astype(np.float64),
    )
    if left.shape != right.shape:
        return np.zeros(len(left), bool), float("inf")
    gap = float(np.nan_to_num(np.abs(left - right), nan=np.inf).max(initial=0.0))
    if left.shape[1] > 1:
        return left.argmax(1) == right.argmax(1), gap
    return np.isclose(left[:, 0], right[:, 0], rtol=0.01, equal_nan=True), gap
