"""Metrics that survive: an append-only log on disk, and a thread that hands what is durable to a tracking server."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tasks.errors import StepError
from tasks.records import Metric
from tasks.system.files import sync_folder, why_not_written

_BATCH = 1000

SECONDS_TO_DELIVER = 20.0

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[Metric]], None]


class MetricsLog:
    """The log of one training, one JSON line a metric, continued where a killed process left it.

    Steps of a key only grow, so a step that is already in the log is not written again: a resumed training goes over
    the same steps and gets the same values. Nothing is published before it is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        sync_folder(path.parent)
        self._durable = read_metrics(path)
        self._size = sum(len(_line(metric)) for metric in self._durable)
        self._file.truncate(self._size)
        self._reached = {metric.key: metric.step for metric in self._durable}
        self._fresh: list[Metric] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many metrics there are, those not yet on the disk included."""
        return len(self._durable) + len(self._fresh)

    def add(self, values: dict[str, float], step: int) -> None:
        """Note values at a step; memory only, so that the loop never waits for a disk."""
        now = time.time_ns() // 1_000_000
        for key, value in values.items():
            if step > self._reached.get(key, -1):
                self._reached[key] = step
                self._fresh.append(Metric(key, value, step, now))

    def resumed(self, count: int) -> None:
        """Say so where fewer than the `count` that a checkpoint speaks of are there."""
        if (there := self.sync()) < count:
            log.warning("%d metrics before the last checkpoint are lost from %s.", count - there, self.path)

    def sync(self) -> int:
        """Put what was noted on the disk; returns how many metrics are there now. Raises StepError when the disk fails."""
        with self._lock:
            fresh = self._fresh[:]  # another thread adds to it meanwhile
            if lines := b"".join(map(_line, fresh)):
                try:
                    self._append(lines)
                except OSError as error:
                    why = why_not_written("metrics", self.path.parent, len(lines), error)
                    raise StepError(why) from error
                del self._fresh[: len(fresh)]
                self._durable += fresh
            return len(self._durable)

    def durable(self, start: int) -> Sequence[Metric]:
        """What is on the disk, from the metric numbered `start`."""
        return self._durable[start : start + _BATCH]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _append(self, lines: bytes) -> None:
        """All of it or none: half a line in the middle would hide what comes after it."""
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(lines)


class Publisher:
    """Hands durable metrics to `publish` about every two seconds from its own thread; a failure is tried again.

    It starts at the beginning of the log, so that a server which missed some gets them from the next run at the latest.
    """

    def __init__(self, metrics: MetricsLog, publish: Publish | None, seconds: float = 2.0) -> None:
        self._metrics = metrics
        self._publish = publish
        self._seconds = seconds
        self._sent = 0
        self._problem: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Deliver the rest, within a bound: a dead server must not keep a finished training from ending."""
        self._ending.set()
        self._thread.join(SECONDS_TO_DELIVER)
        missing = len(self._metrics) - self._sent
        if self._publish is not None and missing:
            log.warning(
                "%d metrics were not delivered (%s): they are in %s and go out with the next run.",
                missing,
                self._problem or "no answer in time",
                self._metrics.path,
            )

    def _run(self) -> None:
        while not self._ending.wait(self._seconds):
            self._deliver()
        for attempt in range(3):
            if self._deliver():
                return
            time.sleep(0.5 * 2**attempt)

    def _deliver(self) -> bool:
        """Whether all that was noted is with the server."""
        try:
            self._metrics.sync()
            while self._publish is not None and (batch := self._metrics.durable(self._sent)):
                self._publish(batch)
                self._sent += len(batch)
        except Exception as problem:
            if self._problem is None:
                log.warning(
                    "Metrics wait on this disk, training goes on: %s: %s", type(problem).__name__, problem
                )
            self._problem = problem
            return False
        return True


def read_metrics(path: Path) -> list[Metric]:
    """The metrics of a log, up to the first line that a crash left unfinished."""
    metrics: list[Metric] = []
    with path.open("rb") as file, suppress(ValueError, TypeError):
        for line in file:
            metric = Metric(*json.loads(line))
            if line != _line(metric):
                break
            metrics.append(metric)
    return metrics


def _line(metric: Metric) -> bytes:
    return json.dumps(metric).encode() + b"\n"
