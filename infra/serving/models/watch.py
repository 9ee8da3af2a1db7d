"""A new version, watched against the one before it on the same rows: beyond stated bounds it has to go.

A failure counts when the old version answers what the new one cannot, so a client's bad input never reverts
anything. Times are CPU times of the same batch on both versions, one after the other, so load does not either.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from infra.serving.models.execution import Done, run
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.tensors import Outputs, RequestRows

EAGER, PATIENT = 0.25, 0.01

PAIRS = 50

STRIKES = 2

LEAST = 20

SLACK = 0.002

Aside = Callable[[Callable[[Done], None], Done], object]

Revert = Callable[[LoadedVersion, LoadedVersion, str], None]


class Bounds(NamedTuple):
    """How much worse a new version may be: share of failing requests, times the p99."""

    errors: float
    slower: float


@dataclass(eq=False)
class Watch:
    """The comparison of one new version with the one before it, up to a moment of the monotonic clock."""

    new: LoadedVersion
    old: LoadedVersion
    until: float
    bounds: Bounds
    aside: Aside
    revert: Revert
    requests: int = 0
    failures: int = 0
    pairs: list[tuple[float, float]] = field(default_factory=list)
    strikes: int = 0
    judged: int = 0
    over: bool = False

    def saw(self, done: Done) -> None:
        """Judge one batch; may call `revert`, once."""
        if self.over:
            return
        if time.monotonic() > self.until:
            self.over = True
        elif done.rescued_from is self.new:
            self.requests += 1
            self._failed(1)
        elif done.loaded is self.new and isinstance(done.outputs, Outputs):
            self.requests += len(done.requests)
            if random.random() < (EAGER if self.judged < 2 * STRIKES else PATIENT):
                self.aside(self._compare, done)

    def _failed(self, count: int) -> None:
        self.failures += count
        if self.failures >= 3 and self.failures > self.bounds.errors * max(self.requests, LEAST):
            self._stop(
                f"{self.failures} of {self.requests} requests failed that version {self._name} could answer"
            )

    def _compare(self, done: Done) -> None:
        group = [request.rows for request in done.requests]
        with suppress(Exception):
            self.pairs.append((cpu_of(self.new, group), cpu_of(self.old, group)))
        if len(self.pairs) < PAIRS:
            return
        ours, theirs = zip(*self.pairs, strict=True)
        self.pairs = []
        self.judged += 1
        now, then = (float(np.percentile(times, 99, method="higher")) for times in (ours, theirs))
        limit = self.bounds.slower * then + SLACK
        late = sum(seconds > limit for seconds in ours)  # one alone may be a hiccup of the machine
        self.strikes = self.strikes + 1 if late > 1 else 0
        if self.strikes >= STRIKES:
            times = f"p99 of its CPU time a batch is {now * 1e3:.1f} ms"
            self._stop(f"{times}, that of version {self._name} {then * 1e3:.1f} ms")

    @property
    def _name(self) -> str:
        return self.old.release.version

    def _stop(self, reason: str) -> None:
        if not self.over:
            self.over = True
            self.revert(self.new, self.old, reason)


def cpu_of(loaded: LoadedVersion, group: Sequence[RequestRows]) -> float:
    """Seconds of this thread that a batch takes."""
    start = time.thread_time()
    run(loaded, group, loaded.pace.batch)
    return time.thread_time() - start
