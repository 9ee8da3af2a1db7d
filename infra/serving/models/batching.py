"""Rows that wait together run together: no timer, no extra latency, and never rows of different shapes in one batch.

A fast model runs on the event loop itself, once per turn of it, with every row that arrived in that turn. A slow
one runs in one thread, each batch taking what arrived during the one before. Which it is, warming up decides.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

from infra.serving.models.execution import Done, Request, execute
from infra.serving.models.pace import Pace
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.headings import refuse
from infra.serving.wire.problems import Problem

TURN_SECONDS = 0.025

BATCH_BYTES = 32 * 1024 * 1024


class Source(Protocol):
    """Where a batch gets the version that answers it, and who hears of it afterwards."""

    current: LoadedVersion | None
    previous: LoadedVersion | None

    def ran(self, done: Done) -> None: ...


@dataclass(eq=False)
class Batcher:
    """The queue of one model."""

    source: Source
    loop: asyncio.AbstractEventLoop
    max_wait: float
    timeout: float
    requests: deque[Request] = field(default_factory=deque)
    rows: int = 0
    busy: bool = False
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "run"))

    def overloaded(self, wait: float) -> Problem:
        """Why a request is turned away while the work before it would take longer than it may wait."""
        return Problem(
            429, "overloaded", "more work is waiting than can be answered in time", max(1, ceil(wait))
        )

    def put(self, request: Request) -> None:
        self.requests.append(request)
        self.rows += request.rows.length
        if not self.busy:
            self.busy = True
            self.loop.call_soon(self._turn)

    def aside(self, work: Callable[[Done], None], done: Done) -> None:
        """Do something further with a batch where batches run: here for a fast model, in the thread for a slow one."""
        if done.loaded.pace.inline:
            work(done)
        else:
            self.pool.submit(work, done)

    def _turn(self) -> None:
        """Run one batch, here or in the thread; come back while anything waits."""
        loaded = self.source.current
        self._drop_late()
        if loaded is None or not self.requests:
            self.busy = False
            return
        previous = self.source.previous
        pace = loaded.pace
        batch = self._take(pace)
        if pace.inline:
            for done in execute(loaded, previous, batch, pace.batch):
                self._answer(done)
            if self.requests:
                self.loop.call_soon(self._turn)
            else:
                self.busy = False
        else:
            work = self.loop.run_in_executor(self.pool, execute, loaded, previous, batch, pace.batch)
            work.add_done_callback(self._finished)

    def _drop_late(self) -> None:
        """Requests that waited longer than any client is still there for are not worth running; with no version, none can be."""
        oldest = time.perf_counter() - (self.timeout if self.source.current is not None else 0)
        while self.requests and self.requests[0].taken < oldest:
            request = self.requests.popleft()
            self.rows -= request.rows.length
            refuse(request.reply, Problem(503, "too_late", "it waited too long in the queue", retry_after=1))

    def _finished(self, work: "asyncio.Future[list[Done]]") -> None:
        self._turn()
        for done in work.result():
            self._answer(done)

    def _take(self, pace: Pace) -> list[Request]:
        most = pace.batch
        if pace.inline:
            most = max(1, min(most, int(TURN_SECONDS / max(pace.row, 1e-9))))
        if self.rows <= most:
            everything = list(self.requests)
            self.requests.clear()
            self.rows = 0
            return everything
        batch: list[Request] = []
        taken = size = 0
        while self.requests:
            rows = self.requests[0].rows
            size += rows.size
            if batch and (taken + rows.length > most or size > BATCH_BYTES):
                break
            taken += rows.length
            batch.append(self.requests.popleft())
        self.rows -= taken
        return batch

    def _answer(self, done: Done) -> None:
        loaded, outputs, requests = done.loaded, done.outputs, done.requests
        numbers, headings = loaded.numbers, loaded.headings
        now = time.perf_counter()
        numbers.latency.add_all([now - request.taken for request in requests])
        if isinstance(outputs, Problem):
            for request in requests:
                numbers.answered(outputs.status)
                refuse(request.reply, outputs, headings)
        else:
            start = 0
            for request in requests:
                stop = start + request.rows.length
                heading, body = request.render(headings, outputs, start, stop)
                request.reply.answer(200, heading, body)
                start = stop
            numbers.answers["200"] = numbers.answers.get("200", 0) + len(requests)
            numbers.rows += start
            numbers.batches.add(start)
        numbers.run_seconds += done.seconds
        self.source.ran(done)
