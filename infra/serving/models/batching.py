"""Rows that wait together run together: no timer, no extra latency, and never rows of different shapes in one batch.

A fast model runs on the event loop itself, once per turn of it, with every row that arrived in that turn, as long as
these take less than a millisecond. Everything else runs in one thread, each batch taking what arrived during the one
before. Which it is, warming up decides.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Protocol

from infra.serving.models.execution import Answered, Done, Request, answered
from infra.serving.models.pace import INLINE_SECONDS, Pace
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.budget import Budget
from infra.serving.wire.headings import refuse
from infra.serving.wire.problems import Problem

logger = logging.getLogger("slipway.serving")

TURN_SECONDS = 0.025

ASIDE_SECONDS = 0.04
"""What is done beside the answers waits for more of its kind: run one after another, a version's runs cost half as much as each among others."""

BATCH_BYTES = 32 * 1024 * 1024

PATIENCE = 20
"""Times what a batch should take, beyond which it is taken for one that never ends."""

TOO_LATE = Problem(503, "too_late", "it waited too long in the queue", retry_after=1)


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
    budget: Budget
    max_wait: float
    timeout: float
    requests: deque[Request] = field(default_factory=deque)
    rows: int = 0
    size: int = 0
    running: int = 0
    """Rows that are being run in the thread."""
    overdue: float | None = None
    """When the batch in the thread ought to have ended long since, by the monotonic clock."""
    busy: bool = False
    further: deque[tuple[Callable[[], None], int]] = field(default_factory=deque)
    """Quick work that was put aside, and the bytes that it holds."""
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "run"))

    def overloaded(self, wait: float) -> Problem:
        """Why a request is turned away while the work before it would take longer than it may wait."""
        return Problem(
            429, "overloaded", "more work is waiting than can be answered in time", max(1, ceil(wait))
        )

    def hangs(self, now: float) -> bool:
        """Whether a batch has been running for so long that it will not end."""
        return self.overdue is not None and now > self.overdue

    def put(self, request: Request) -> None:
        rows = request.rows
        self.requests.append(request)
        self.rows += rows.length
        self.size += rows.size
        self.budget.used += rows.size
        if not self.busy:
            self.busy = True
            self.loop.call_soon(self._turn)

    def aside(self, work: Callable[[], None], size: int, quick: bool) -> None:
        """Do something further where batches run: here what is quick, a little later, in the thread what is slow."""
        if not quick:
            self.pool.submit(work)
            return
        if not self.further:
            self.loop.call_later(ASIDE_SECONDS, self._run_further)
        self.further.append((work, size))
        self.budget.used += size

    def _run_further(self) -> None:
        """A millisecond of it; the rest when whoever came meanwhile has been heard."""
        end = time.perf_counter() + INLINE_SECONDS
        while self.further and time.perf_counter() < end:
            work, size = self.further.popleft()
            self.budget.used -= size
            try:
                work()
            except Exception as error:
                logger.error("looking at a request failed", exc_info=error)
        if self.further:
            self.loop.call_soon(self._run_further)

    def _turn(self) -> None:
        """Run one batch, here or in the thread; come back while anything waits."""
        loaded = self.source.current
        self._drop_late()
        if loaded is None or not self.requests:
            self.busy = False
            return
        pace = loaded.pace
        batch, rows, size = self._take(pace)
        if pace.at_once(rows):
            self._answer(answered(loaded, self.source.previous, batch, pace.batch), size)
            if self.requests:
                self.loop.call_soon(self._turn)
            else:
                self.busy = False
        else:
            self.running = rows
            self.overdue = time.monotonic() + max(self.timeout, PATIENCE * pace.seconds(rows))
            work = partial(answered, loaded, self.source.previous, batch, pace.batch)
            self.loop.run_in_executor(self.pool, work).add_done_callback(partial(self._finished, size))

    def _drop_late(self) -> None:
        """Requests that waited longer than any client is still there for are not worth running; with no version, none can be."""
        oldest = time.perf_counter() - (self.timeout if self.source.current is not None else 0)
        while self.requests and self.requests[0].taken < oldest:
            request = self.requests.popleft()
            self.rows -= request.rows.length
            self.size -= request.rows.size
            self.budget.used -= request.rows.size
            if self.source.current is not None:
                self.source.current.numbers.answered(TOO_LATE.status)
            refuse(request.reply, TOO_LATE)

    def _finished(self, size: int, work: "asyncio.Future[list[Answered]]") -> None:
        self.running, self.overdue = 0, None
        self._turn()
        self._answer(work.result(), size)

    def _take(self, pace: Pace) -> tuple[list[Request], int, int]:
        """The next batch, bounded in rows and in bytes, and how much it is of both."""
        most = pace.batch
        if pace.inline:
            most = max(pace.least, min(most, int(TURN_SECONDS / max(pace.row, 1e-9))))
        if self.rows <= most and self.size <= BATCH_BYTES:
            batch, rows, size = list(self.requests), self.rows, self.size
            self.requests.clear()
        else:
            batch, rows, size = [], 0, 0
            while self.requests:
                more = self.requests[0].rows
                if batch and (rows + more.length > most or size + more.size > BATCH_BYTES):
                    break
                rows += more.length
                size += more.size
                batch.append(self.requests.popleft())
        self.rows -= rows
        self.size -= size
        return batch, rows, size

    def _answer(self, runs: list[Answered], size: int) -> None:
        self.budget.used -= size
        for done, answers, failed in runs:
            numbers, requests = done.loaded.numbers, done.requests
            now = time.perf_counter()
            numbers.latency.add_all([now - request.taken for request in requests])
            for request, (status, heading, body) in zip(requests, answers, strict=True):
                request.reply.answer(status, heading, body)
            if isinstance(done.outputs, Problem):
                numbers.answered(done.outputs.status, len(requests))
            else:
                rows = len(done.outputs.arrays[0])
                numbers.answered(200, len(requests) - failed)
                numbers.rows += rows
                numbers.batches.add(rows)
                if failed:
                    numbers.answered(500, failed)
            numbers.run_seconds += done.seconds
            try:
                self.source.ran(done)
            except Exception as error:  # whoever looks on is no reason to stop
                logger.error("looking at a batch of %s failed", numbers.model, exc_info=error)
