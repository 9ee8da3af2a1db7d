"""Rows that wait together run together: no timer, no extra latency, and never rows of different shapes in one batch.

A fast model runs on the event loop itself, once per turn of it, with every row that arrived in that turn. A slow
one runs in one thread, each batch taking what arrived during the one before. Which it is, warming up decides.
"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Protocol

from infra.serving.answers import refuse
from infra.serving.execution import Done, Job, execute
from infra.serving.model import Model, Pace
from infra.serving.problems import Problem

INLINE_SECONDS = 0.001
TURN_SECONDS = 0.025
BATCH_BYTES = 32 * 1024 * 1024


class Source(Protocol):
    """Where a batch gets the version that answers it, and who hears of it afterwards."""

    current: Model | None
    previous: Model | None

    def ran(self, done: Done) -> None: ...


class Batcher:
    """The queue of one model."""

    def __init__(
        self, source: Source, loop: asyncio.AbstractEventLoop, max_wait: float, timeout: float
    ) -> None:
        self.source = source
        self.loop = loop
        self.max_wait = max_wait
        self.timeout = timeout
        self.jobs: deque[Job] = deque()
        self.rows = 0
        self.busy = False
        self.refused = 0
        self.pool = ThreadPoolExecutor(1, "run")

    def admit(self, pace: Pace) -> None:
        """Problem 429 while the work that waits would take longer than a request may wait."""
        wait = self.rows * pace.row
        if wait > self.max_wait:
            self.refused += 1
            raise Problem(
                429, "overloaded", "more work is waiting than can be answered in time", max(1, ceil(wait))
            )

    def put(self, job: Job) -> None:
        self.jobs.append(job)
        self.rows += job.rows.count
        if not self.busy:
            self.busy = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Run one batch, here or in the thread; come back while anything waits."""
        model = self.source.current
        if model is None or not self.jobs:
            self.busy = False
            return
        previous = self.source.previous
        pace = model.pace
        batch = self._take(pace)
        if inline(pace):
            for done in execute(model, previous, batch, pace.batch):
                self._answer(done)
            if self.jobs:
                self.loop.call_soon(self._turn)
            else:
                self.busy = False
        else:
            work = self.loop.run_in_executor(self.pool, execute, model, previous, batch, pace.batch)
            work.add_done_callback(self._finished)

    def _finished(self, work: "asyncio.Future[list[Done]]") -> None:
        self._turn()
        for done in work.result():
            self._answer(done)

    def _take(self, pace: Pace) -> list[Job]:
        most = pace.batch
        if inline(pace):
            most = max(1, min(most, int(TURN_SECONDS / max(pace.row, 1e-9))))
        if self.rows <= most:
            batch = list(self.jobs)
            self.jobs.clear()
            self.rows = 0
            return batch
        batch, rows, size = [], 0, 0
        while self.jobs:
            job = self.jobs[0].rows
            size += job.size
            if batch and (rows + job.count > most or size > BATCH_BYTES):
                break
            rows += job.count
            batch.append(self.jobs.popleft())
        self.rows -= rows
        return batch

    def _answer(self, done: Done) -> None:
        now = time.perf_counter()
        numbers = done.model.numbers
        start = 0
        for job in done.jobs:
            stop = start + job.rows.count
            if isinstance(done.outputs, Problem):
                numbers.answered(done.outputs.status)
                refuse(job.reply, done.outputs, done.model.headings)
            else:
                heading, body = job.render(done.model, done.outputs, start, stop)
                job.reply.answer(200, heading, body)
            numbers.latency.add(now - job.taken)
            start = stop
        if not isinstance(done.outputs, Problem):
            numbers.answers[200] = numbers.answers.get(200, 0) + len(done.jobs)
            numbers.rows += start
        numbers.run_seconds += done.seconds
        numbers.batches.add(start)
        self.source.ran(done)


def inline(pace: Pace) -> bool:
    return pace.single < INLINE_SECONDS
