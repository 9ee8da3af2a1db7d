"""What waits and what runs: where a batch runs, what counts as work, and that every request is answered."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from infra.serving.models import batching
from infra.serving.models.batching import Batcher
from infra.serving.models.counters import Numbers
from infra.serving.models.execution import Done, Request
from infra.serving.models.pace import Pace
from infra.serving.wire.budget import Budget
from infra.serving.wire.headings import Heading, Headings
from infra.serving.wire.tensors import Outputs, RequestRows, Spec, Tensor

SPEC = Spec((Tensor("x", np.dtype("float32"), (-1, 2)),), (Tensor("y", np.dtype("float32"), (-1, 2)),))


class Version:
    """A version that notes what it is given to run, and where."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.spec = SPEC
        self.numbers = Numbers("m", "1")
        self.headings = Headings("m", "1", "d")
        self.ran: list[tuple[int, int, bool]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.release = type("Release", (), {"model": "m"})

    def run(self, group: list[RequestRows]) -> Outputs:
        return self._ran(sum(rows.length for rows in group), sum(rows.size for rows in group))

    def assemble(self, group: list[RequestRows]) -> dict[str, Any]:
        return {"x": np.zeros((sum(rows.length for rows in group), 2), "float32")}

    def answer(self, feeds: dict[str, Any]) -> Outputs:
        return self._ran(len(feeds["x"]), feeds["x"].nbytes)

    def _ran(self, rows: int, size: int) -> Outputs:
        here = threading.current_thread() is threading.main_thread()
        self.ran.append((rows, size, here))
        self.gate.wait(10)
        return Outputs(SPEC, [np.zeros((rows, 2), "float32")])


class Source:
    """One version, and nobody looking on."""

    def __init__(self, version: Version) -> None:
        self.current: Any = version
        self.previous = None
        self.look: Callable[[Done], None] = lambda done: None

    def ran(self, done: Done) -> None:
        self.look(done)


class Answers(list[int]):
    """The statuses of what was answered."""

    def answer(self, status: int, heading: Heading, body: bytes) -> None:
        self.append(status)


def request(answers: Answers, rows: int, size: int | None = None, render: Any = None) -> Request:
    def plainly(headings: Headings, *_: object) -> tuple[Heading, bytes]:
        return headings.json, b""

    width = rows * 8 if size is None else size
    return Request(
        RequestRows(rows, (("<f4", (2,)),), (b"",), width), render or plainly, answers, time.perf_counter()
    )


def batcher_of(version: Version, timeout: float = 30.0) -> Batcher:
    return Batcher(Source(version), asyncio.get_running_loop(), Budget(2**30), 1.0, timeout)  # type: ignore[arg-type]


async def idle(batcher: Batcher) -> None:
    while batcher.busy:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)


def test_a_quick_model_runs_here_but_no_job_of_more_than_a_millisecond() -> None:
    async def run() -> None:
        version, answers = Version(Pace(0.0001, 0.0001, 64)), Answers()
        batcher = batcher_of(version)
        for rows in (1, 10, 11, 4096):
            batcher.put(request(answers, rows))
            await idle(batcher)
        assert answers == [200] * 4
        assert [here for rows, _, here in version.ran if rows in (1, 10)] == [True, True]
        assert {here for rows, _, here in version.ran if rows not in (1, 10)} == {False}

    asyncio.run(run())


def test_rows_that_are_being_run_are_work_that_is_waited_for() -> None:
    async def run() -> None:
        version, answers = Version(Pace(0.5, 0.5, 4)), Answers()
        batcher = batcher_of(version)
        version.gate.clear()
        batcher.put(request(answers, 4))
        while not version.ran:
            await asyncio.sleep(0.001)
        assert (batcher.rows, batcher.running) == (0, 4)
        batcher.put(request(answers, 2))
        assert (batcher.rows, batcher.running) == (2, 4)
        version.gate.set()
        await idle(batcher)
        assert answers == [200, 200] and batcher.rows == batcher.running == batcher.budget.used == 0

    asyncio.run(run())


def test_a_batch_is_bounded_in_bytes_also_when_its_rows_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 100)

    async def run() -> None:
        version, answers = Version(Pace(0.0001, 0.0000001, 64)), Answers()
        batcher = batcher_of(version)
        for _ in range(7):
            batcher.put(request(answers, 1, 40))
        batcher.put(request(answers, 1, 400))
        assert batcher.budget.used == 680
        await idle(batcher)
        assert answers == [200] * 8 and batcher.budget.used == 0 == batcher.size == batcher.rows
        assert [size for _, size, _ in version.ran] == [80, 80, 80, 40, 400]

    asyncio.run(run())


def test_what_waits_for_an_engine_is_gathered_until_the_engine_runs_it() -> None:
    async def run() -> list[tuple[int, int, bool]]:
        version, answers = Version(Pace(0.0009, 0.0009, 64, least=32)), Answers()
        batcher = batcher_of(version)
        for _ in range(40):
            batcher.put(request(answers, 1))
        await idle(batcher)
        return version.ran

    assert [rows for rows, _, _ in asyncio.run(run())] == [32, 8], "of rows of 0.9 ms each 27 make a turn"


def test_a_batch_that_does_not_end_is_noticed_and_one_that_is_only_slow_is_not() -> None:
    async def run() -> None:
        version, answers = Version(Pace(0.5, 0.5, 4)), Answers()
        batcher = batcher_of(version, timeout=5.0)
        version.gate.clear()
        batcher.put(request(answers, 1))
        while not version.ran:
            await asyncio.sleep(0.001)
        now = time.monotonic()
        assert not batcher.hangs(now + 9) and batcher.hangs(now + 11)
        version.gate.set()
        await idle(batcher)
        assert not batcher.hangs(now + 1000)

    asyncio.run(run())


@pytest.mark.parametrize("row", [0.0000001, 0.5])
def test_whatever_fails_each_request_is_answered_once_and_the_next_is_run(row: float) -> None:
    async def run() -> None:
        version, answers = Version(Pace(row, row, 64)), Answers()
        batcher, looked = batcher_of(version), []

        def broken(*_: object) -> Any:
            raise ValueError("cannot be written")

        def look(done: Done) -> None:
            looked.append(len(done.requests))
            raise RuntimeError("the one who looks on fails")

        batcher.source.look = look  # type: ignore[attr-defined]
        batcher.put(request(answers, 1))
        batcher.put(request(answers, 1, render=broken))
        batcher.put(request(answers, 1))
        await idle(batcher)
        batcher.put(request(answers, 1))
        await idle(batcher)
        assert answers == [200, 500, 200, 200] and sum(looked) == 4
        assert version.numbers.answers == {"200": 3, "500": 1} and batcher.budget.used == 0

    asyncio.run(run())


def test_what_waited_too_long_is_counted_under_the_version_that_did_not_answer_it() -> None:
    async def run() -> None:
        version, answers = Version(Pace(0.0001, 0.0001, 64)), Answers()
        batcher = batcher_of(version, timeout=0.0)
        batcher.put(request(answers, 3))
        await asyncio.sleep(0.01)
        assert answers == [503] and version.numbers.answers == {"503": 1}
        assert (batcher.rows, batcher.size, batcher.budget.used, batcher.busy) == (0, 0, 0, False)

    asyncio.run(run())


def test_quick_work_put_aside_waits_for_more_is_counted_while_it_does_and_goes_on_after_a_failure() -> None:
    async def run() -> None:
        batcher, done = batcher_of(Version(Pace(0.0001, 0.0001, 64))), list[int]()

        def fails() -> None:
            raise RuntimeError("the one who looks on fails")

        for number in range(3):
            batcher.aside(partial(done.append, number), 10, True)
            batcher.aside(fails, 1, True)
        assert (done, batcher.budget.used) == ([], 33)
        while len(done) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        assert (done, batcher.budget.used) == ([0, 1, 2], 0)
        batcher.aside(partial(done.append, 3), 10, True)
        while len(done) < 4:
            await asyncio.sleep(0.01)
        assert batcher.budget.used == 0

    asyncio.run(run())


def test_a_request_is_answered_between_one_millisecond_put_aside_and_the_next() -> None:
    async def run() -> None:
        batcher, answers, seen = batcher_of(Version(Pace(0.0001, 0.0001, 64))), Answers(), list[int]()

        def work() -> None:
            if not seen:
                batcher.put(request(answers, 1))
            seen.append(len(answers))
            time.sleep(0.002)

        for _ in range(3):
            batcher.aside(work, 0, True)
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        assert seen == [0, 1, 1]

    asyncio.run(run())


def test_slow_work_put_aside_runs_in_the_thread() -> None:
    async def run() -> None:
        batcher, where = batcher_of(Version(Pace(0.5, 0.5, 4))), list[bool]()
        batcher.aside(lambda: where.append(threading.current_thread() is threading.main_thread()), 1, False)
        batcher.pool.shutdown()
        assert where == [False] and batcher.budget.used == 0

    asyncio.run(run())
