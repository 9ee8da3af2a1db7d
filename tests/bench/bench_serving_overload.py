"""Four times what the server can do: how much useful work goes on, how soon the rest is told to come back, and how soon it is over.

An open loop: requests leave at their times whether or not earlier ones were answered, as those of many clients do. `--write` puts the table into
docs/benchmarks.md.
"""

import asyncio
import json
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import bench_serving
import serving_models as models
from figures import listed, published
from serving_peers import HOME, cpu_seconds
from serving_process import ServerProcess

CLIENTS = (4, 8, 16, 32)
"""How many at once the peak is looked for with: too few leave the server idle, too many are refused in part."""

PEAK_SECONDS, STEADY_SECONDS, OVER, OVER_SECONDS, AFTER_SECONDS = 2.0, 5.0, 4, 20.0, 8.0
SETTLE = 2.0


class Answer(NamedTuple):
    sent: float
    took: float
    status: int
    retry: bool


class Peak(NamedTuple):
    """What a server does for so many clients, each of whom waits for an answer before it asks again."""

    rate: float
    """Answers a second."""
    cost: float
    """Of its CPU seconds, for an answer."""
    clients: int


class Client:
    """Connections that are kept, and what was answered on them."""

    def __init__(self, address: tuple[str, int], body: bytes) -> None:
        self.address = address
        head = f"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.asked = 0
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers: list[Answer] = []

    async def ask(self) -> None:
        """One request on an idle connection, or on a new one."""
        start = time.perf_counter()
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(*self.address)
        self.asked += 1  # heads differ, as those of many clients do
        first, rest = self.request.split(b"\r\n", 1)
        writer.write(b"%b\r\nX-Request-Id: %d\r\n%b" % (first, self.asked, rest))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.idle.append((reader, writer))
        status = int(head.split(b" ", 2)[1])
        self.answers.append(Answer(start, time.perf_counter() - start, status, b"retry-after" in head))

    async def closed(self, clients: int, seconds: float) -> float:
        """Answers a second, of those that came within the time, when each of some clients waits for its answer."""
        start = time.perf_counter()
        end = start + seconds

        async def one() -> None:
            while time.perf_counter() < end:
                await self.ask()

        before = len(self.answers)
        await asyncio.gather(*(one() for _ in range(clients)))
        return useful(self.answers[before:], start, end)

    async def most(self, seconds: float = PEAK_SECONDS) -> int:
        """With how many clients there are the most answers a second, of those numbers of them of which none is refused."""
        found = list[tuple[float, int]]()
        for clients in CLIENTS:
            before = len(self.answers)
            rate = await self.closed(clients, seconds)
            if all(answer.status == 200 for answer in self.answers[before:]):
                found.append((rate, clients))
        if not found:
            raise RuntimeError(f"Even some of {CLIENTS[0]} clients were refused.")
        return max(found)[1]

    async def peak(self, clients: int, cpu: Callable[[], float], seconds: float) -> Peak:
        """What is answered to so many; `cpu` says what CPU seconds the server has had.

        Measured anew, for the highest of several short measurements is higher than what it measures.
        """
        before, had = len(self.answers), cpu()
        rate = await self.closed(clients, seconds)
        served = sum(answer.status == 200 for answer in self.answers[before:])
        return Peak(rate, (cpu() - had) / served, clients)

    async def offered(self, rate: float, seconds: float) -> list[Answer]:
        """What came of requests that left at a rate, all of them awaited."""
        before, start, tasks = len(self.answers), time.perf_counter(), set()
        sent = 0
        while (now := time.perf_counter() - start) < seconds:
            while sent < now * rate:
                tasks.add(asyncio.create_task(self.ask()))
                sent += 1
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        return self.answers[before:]

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()


def useful(answers: list[Answer], start: float, end: float) -> float:
    """Good answers a second that were complete between two moments."""
    return sum(a.status == 200 and start <= a.sent + a.took <= end for a in answers) / (end - start)


def p99(answers: list[Answer]) -> float:
    times = sorted(answer.took for answer in answers if answer.status == 200)
    return times[int(0.99 * (len(times) - 1))] if times else float("inf")


def recovered(answers: list[Answer], start: float, within: float) -> float:
    """Seconds until the last of those in which more than one in a hundred was refused or took longer than `within`."""
    late: dict[int, list[bool]] = {}
    for answer in answers:
        late.setdefault(int(answer.sent - start), []).append(answer.status != 200 or answer.took > within)
    return max((second + 1.0 for second, each in late.items() if statistics.mean(each) > 0.01), default=0.0)


async def measure(server: ServerProcess, body: bytes) -> dict[str, float]:
    client = Client(server.address, body)

    def cpu() -> float:
        return cpu_seconds(server.process.pid)

    await client.closed(CLIENTS[-1], 1.0)
    clients = await client.most()
    peak = await client.peak(clients, cpu, STEADY_SECONDS)
    steady = p99(await client.offered(peak.rate / 2, STEADY_SECONDS))
    start = time.perf_counter()
    over = await client.offered(OVER * peak.rate, OVER_SECONDS)
    ended = start + OVER_SECONDS
    work = useful(over, start + SETTLE, ended)
    after = await client.offered(peak.rate / 2, AFTER_SECONDS)
    again = await client.peak(clients, cpu, STEADY_SECONDS)  # the machine's speed changes meanwhile
    client.close()
    refused = [answer for answer in over if answer.status == 429]
    counts = Counter(answer.status for answer in over)
    return {
        "peak before, rows/s": peak.rate,
        "clients at the peak": peak.clients,
        "peak after, rows/s": again.rate,
        "p99 ms at half the peak": steady * 1e3,
        "offered, rows/s": len(over) / OVER_SECONDS,
        "useful work at 4×, share of peak": work / statistics.mean([peak.rate, again.rate]),
        "answered 200": counts[200],
        "answered 429": counts[429],
        "answered otherwise": len(over) - counts[200] - counts[429],
        "429 without Retry-After": sum(not answer.retry for answer in refused),
        "429 after, median ms": statistics.median(a.took for a in refused) * 1e3 if refused else 0.0,
        "recovered after, s": recovered(after, ended, 2 * steady + 0.01),
    }


def main() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    work = next(work for work in bench_serving.WORKS if work.name == "tokens")
    rows = bench_serving.rows_of(work.name, work.shape, 1).tolist()
    shutil.rmtree(HOME / "overload", ignore_errors=True)
    folder = models.save(HOME / "overload", work.model(), {work.name: rows})
    body = json.dumps({"inputs": {work.name: rows}}).encode()
    with (
        published("serving overload", "uvicorn", "onnxruntime") as lines,
        ServerProcess(f"bench={folder}", home=HOME / "home", log_level="error") as server,
    ):
        lines += listed({"work": work.title, **asyncio.run(measure(server, body))})


if __name__ == "__main__":
    main()
