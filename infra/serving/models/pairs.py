"""Two versions on the same row of the same request: what a new one does that the one before it does not, and when it has to go.

A pair never delays an answer and says nothing of clients: what a request may have done wrong it did to both, and CPU times of one
thread know no load. Requests are drawn when they come, before anything of them is known; the counts are all that is kept.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from infra.serving.models.execution import Done, Request, run
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.tensors import Array, Outputs, RequestRows, all_finite, cut
from tasks.rollout.counts import Counts
from tasks.rollout.guards import FEWEST_FAILURES, failing
from tasks.rollout.policy import Margins
from tasks.rollout.record import RolloutRecord

SHARE = 0.05
"""Of one CPU, for pairs."""

BURST = 0.05
"""CPU seconds that may be saved up."""

MOST_A_SECOND = 100
"""Of a quick model a twentieth of a CPU would be hundreds; a rollout asks for a few thousand, and stays minutes at a step."""

ENOUGH, AFTERWARDS = 5_000, 20
"""Pairs that most rollouts of an equal version need, and how many come a second beyond them: what begins to go wrong later has to outweigh
all that there are, so that it is found about as soon as by more."""

WAITING = 32

ROUNDS, SLOW_SECONDS = 3, 0.02

LOOKS = 16
"""Pairs between two looks at the CPU times; at failures every time."""

BOUNDS = Margins(errors=0.01, slower=1.5, tail=0.05, score=None)
"""How much worse a version may be that answers everybody at once; a rollout's own margins are narrower."""

Aside = Callable[[Callable[[], None], int, bool], object]


class Pair(NamedTuple):
    """A row of a request that both versions answered, and what the other version said of it."""

    done: Done
    row: int
    agreed: bool
    other: Outputs

    @property
    def record(self) -> RolloutRecord:
        record: RolloutRecord = self.done.requests[0].about.lot.record
        return record


@dataclass(eq=False)
class Pairs:
    """The comparison of two versions, up to a moment of the clock by which requests come. `worse` is called once, from any thread."""

    new: LoadedVersion
    old: LoadedVersion
    margin: Margins
    aside: Aside
    worse: Callable[["Pairs", str], None]
    noted: Callable[[Pair], None] | None = None
    until: float = float("inf")
    over: bool = False
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Counts.model_fields, 0))
    cost: float = 0.0
    """CPU seconds of a pair, as they were lately; written where pairs run alone."""
    due: float = 0.0
    """When there is CPU time for the next pair: what is saved up is SHARE of the time that has passed since."""
    taken: int = 0
    ended: int = 0

    def __post_init__(self) -> None:
        self.due = time.perf_counter() - BURST / SHARE
        self.cost = ROUNDS * (self.new.pace.single + self.old.pace.single)
        self.at_once = self.new.pace.at_once(1) and self.old.pace.at_once(1)

    @property
    def counts(self) -> Counts:
        return Counts(**self.counted)

    def draw(self, now: float) -> bool:
        """Whether the request that has come just `now` is to be a pair: all are, while the CPU time set aside for pairs lasts."""
        if self.over or now <= self.due:
            return False
        self.over = now > self.until
        most = MOST_A_SECOND if self.counted["pairs"] < ENOUGH else AFTERWARDS
        self.due = max(self.due, now - BURST / SHARE) + max(self.cost / SHARE, 1 / most)
        return not self.over

    def saw(self, done: Done) -> None:
        """A batch has been answered; what the new version failed and the old one answered is a failure, whoever was drawn."""
        if self.over:
            return
        came = sum([not request.about.asked for request in done.requests])
        if done.rescued_from is self.new:
            self.counted["requests"] += came
            self.counted["rescued"] += came
            self._look(1)
        elif done.loaded is self.new and isinstance(done.outputs, Outputs):
            self.counted["requests"] += came

    def take(self, done: Done, request: Request, start: int) -> None:
        """Compare a request that was drawn and has its answer, where batches run; `start` is its first row in the batch, of which no more is kept."""
        outputs, rows = done.outputs, request.rows
        if self.over or self.taken - self.ended >= WAITING or not isinstance(outputs, Outputs):
            return
        self.taken += 1
        answer = [array[start : start + rows.length].copy() for array in outputs.arrays]
        alone = done._replace(requests=[request], outputs=Outputs(outputs.spec, answer))
        self.aside(partial(self._compare, alone), rows.size, self.at_once)

    def _compare(self, done: Done) -> None:
        began = time.thread_time()
        try:
            if self.over:
                return
            rows = done.requests[0].rows
            place = random.randrange(rows.length)
            new, old = self._run(cut(rows, place, place + 1))
            self._count(done, place, new, old)
        finally:
            self.cost += (time.thread_time() - began - self.cost) / 8
            self.ended += 1

    def _run(self, row: RequestRows) -> "tuple[Timed, Timed]":
        """In random order; quick ones several times, of which the quickest counts.

        Whoever has just answered the request is still in the CPU's caches: timed once, two sessions of one file differed by 20% in
        the median, for the one or for the other.
        """
        order = [self.new, self.old] if random.random() < 0.5 else [self.old, self.new]
        times = ROUNDS if self.cost < SLOW_SECONDS else 1
        runs = [{version: _timed(version, row) for version in order} for _ in range(times)]
        new, old = (min((run[version] for run in runs), key=_seconds) for version in (self.new, self.old))
        return new, old

    def _count(self, done: Done, place: int, new: "Timed", old: "Timed") -> None:
        counted, served = self.counted, self.new in (done.loaded, done.rescued_from)
        counted["pairs"] += 1
        counted["served"] += served
        if old.outputs is None:
            return
        if new.outputs is None:
            counted["failed"] += not served  # or else it is among the rescued already
            self._look(1)
            return
        ratio, bound = new.seconds / max(old.seconds, 1e-9), self.margin.slower
        agreed = agree(new.outputs.arrays[0][0], old.outputs.arrays[0][0])
        counted["timed"] += 1
        counted["slow"] += ratio > bound
        counted["tail_worse"] += ratio > 2 * bound
        counted["tail_better"] += ratio < bound / 2
        counted["agreed"] += agreed
        if self.noted is not None and done.loaded in (self.new, self.old):
            other = old if done.loaded is self.new else new
            assert other.outputs is not None
            self.noted(Pair(done, place, agreed, other.outputs))
        self._look(LOOKS)

    def _look(self, every: int) -> None:
        """Whether it is surely worse, by what this process alone has seen."""
        counted = self.counted
        if every == 1:
            due = counted["rescued"] + counted["failed"] >= FEWEST_FAILURES
        else:
            due = counted["timed"] % every == 0
        if due and not self.over and (reason := failing(self.counts, self.margin)) is not None:
            self.over = True
            self.worse(self, reason)


class Timed(NamedTuple):
    """What a version said of a row, None where it failed, and the CPU time that it took."""

    outputs: Outputs | None
    seconds: float


def _seconds(timed: Timed) -> float:
    return timed.seconds


def _timed(loaded: LoadedVersion, row: RequestRows) -> Timed:
    start = time.thread_time()
    try:
        outputs = run(loaded, [row], 1)
    except Exception:
        return Timed(None, 0.0)
    seconds = time.thread_time() - start
    return Timed(outputs if all_finite(outputs.arrays) else None, seconds)


def agree(left: Array, right: Array) -> bool:
    """Whether two answers to a row say the same: the same class or words, or a number within a hundredth."""
    if left.dtype.kind == "O" or right.dtype.kind == "O" or left.shape != right.shape:
        return np.array_equal(left, right)
    if left.size > 1:
        return bool(left.argmax() == right.argmax())
    return bool(np.isclose(left, right, rtol=0.01, equal_nan=True).all())
