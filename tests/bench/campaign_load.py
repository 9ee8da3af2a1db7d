"""Parts of the campaign in which a whole server is loaded: ended amid it, beside slow clients, and asked ten times what it can do."""

import asyncio
import contextlib
import json
import multiprocessing
import random
import re
import resource
import signal
import socket
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import bench_serving_overload as overload
import numpy as np
import serving_models as models
from campaign import Case, Part, Tried, Try, Wrong
from serving_peers import cpu_seconds
from serving_process import ServerProcess

ENDINGS, SLOW, OVERLOADS = 100, 40, 20

CLIENTS, DRAIN = 16, 10.0

OVER, BEFORE_SECONDS, OVER_SECONDS, AFTER_SECONDS = 10, 4.0, 8.0, 6.0

OVERLOADED = 4000
"""Layers of the model, of 15 µs a row: the server does some 50 rows a second, so that a client on the same machine can ask for ten times as many."""

LEAST, RECOVERY = 0.9, 5.0
"""Of the useful work at the peak; seconds after which all is as before."""

SLOW_CLIENTS, SETTLE_SECONDS, BESIDE_SECONDS = 300, 40.0, 3.0

LENGTH = re.compile(rb"content-length: (\d+)")


def post(rows: int, path: str = "/invocations", width: int = 64) -> bytes:
    body = json.dumps(
        {"inputs": {"x": np.linspace(-1, 1, rows * width).round(3).reshape(rows, width).tolist()}}
    )
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body.encode()


class Asked(NamedTuple):
    """A request: when it had been sent as a whole, when its answer was there as a whole (0: never), and how the connection ended."""

    sent: float
    came: float
    status: int = 0
    ended: str = ""


class Asker:
    """Clients that each wait for an answer before they ask again, on connections that they keep, in a thread of their own."""

    def __init__(self, address: tuple[str, int], requests: list[bytes]) -> None:
        self.address, self.requests = address, requests
        self.asked: list[Asked] = []
        self.refused = 0
        self.going = True
        self.thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self.thread.start()

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(random.Random(n)) for n in range(CLIENTS)))

    async def _one(self, dice: random.Random) -> None:
        while self.going:
            try:
                reader, writer = await asyncio.open_connection(*self.address)
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.02)
                continue
            with contextlib.suppress(OSError):
                while self.going and await self._ask(reader, writer, dice.choice(self.requests)):
                    pass
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
        """Whether the connection goes on."""
        writer.write(request)
        await writer.drain()
        sent, head = time.monotonic(), b""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = LENGTH.search(head)
            assert length is not None, head
            await reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, OSError) as error:
            said = head or getattr(error, "partial", b"")
            self.asked.append(Asked(sent, 0.0, 0, "amid the answer" if said else "before the answer"))
            return False
        self.asked.append(Asked(sent, time.monotonic(), int(head.split(b" ", 2)[1])))
        return b"connection: close" not in head

    def stop(self) -> list[Asked]:
        self.going = False
        self.thread.join(60)
        return self.asked


@contextmanager
def open_endings(scratch: Path) -> Iterator[Try]:
    folders = {
        "a quick model": models.save(scratch / "quick", models.mlp(), {"x": [[0.5] * 64]}),
        "a slow model": models.save(scratch / "slow", models.slow(800, size=128), {"x": [[0.5] * 128]}),
    }
    yield lambda case: end(case, folders, scratch)


def end(case: Case, folders: dict[str, Path], scratch: Path) -> Tried:
    """A server with clients is sent SIGTERM. What was taken is answered, and where it waits a little first, nothing is lost at all."""
    dice = case.dice
    name = dice.choice([*folders])
    width = 64 if name == "a quick model" else 128
    delay = dice.choice((0.0, 0.0, 0.4))
    options = {"drain_delay": delay, "drain": DRAIN, "workers": dice.choice((1, 1, 2)), "log_level": "error"}
    options["fast_path"] = dice.random() < 0.7
    server = ServerProcess(f"digits={folders[name]}", home=scratch / "home", **options)
    try:
        asker = Asker(server.address, [post(rows, width=width) for rows in (1, 1, 3, 40)])
        time.sleep(dice.uniform(0.1, 0.8))
        told = time.monotonic()
        code = server.stop(signal.SIGTERM, delay + DRAIN + 20)
        took = time.monotonic() - told
    finally:
        asked = asker.stop()
        server.stop(signal.SIGKILL)
    lost = [
        each
        for each in asked
        if not each.came and (delay or each.ended != "before the answer" or each.sent < told - 0.05)
    ]
    if lost or code or took > delay + DRAIN + 1:
        raise Wrong(
            f"{name}, {options}: exit code {code} after {took:.1f} s, lost {[(e.ended, round(e.sent - told, 3)) for e in lost]}"
        )
    other = sorted({each.status for each in asked if each.came} - {200, 503})
    if other or not any(each.status == 200 for each in asked):
        raise Wrong(f"{name}: answered {other or 'nothing'}")
    after = sum(each.came > told for each in asked)
    return Tried(
        "nothing lost", 1, {"s to end": took, "answers": len(asked), "answers after the signal": after}
    )


Behave = Callable[[tuple[str, int], asyncio.Event, random.Random], Awaitable[None]]


async def trickle(address: tuple[str, int], over: asyncio.Event, request: bytes, at: int) -> None:
    """The first `at` bytes, and then one at a time."""
    _, writer = await asyncio.open_connection(*address)
    with contextlib.suppress(OSError):
        writer.write(request[:at])
        for byte in request[at:]:
            await asyncio.sleep(0.3)
            if over.is_set():
                break
            writer.write(bytes([byte]))
            await writer.drain()
    writer.close()


async def heads(address: tuple[str, int], over: asyncio.Event, dice: random.Random) -> None:
    await trickle(address, over, post(1), dice.randrange(100))


async def bodies(address: tuple[str, int], over: asyncio.Event, dice: random.Random) -> None:
    request = post(dice.choice((1, 500)))
    await trickle(address, over, request, len(request) - dice.randrange(20, 300))


async def readers(address: tuple[str, int], over: asyncio.Event, dice: random.Random) -> None:
    """Asks for answers of a hundred kilobytes, and takes them by the byte."""
    loop = asyncio.get_running_loop()
    with socket.socket() as end, contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.setblocking(False)
        await loop.sock_connect(end, address)
        await loop.sock_sendall(end, post(400))
        while not over.is_set():
            await asyncio.sleep(0.3)
            await loop.sock_recv(end, 64)


async def idle(address: tuple[str, int], over: asyncio.Event, dice: random.Random) -> None:
    _, writer = await asyncio.open_connection(*address)
    await over.wait()
    writer.close()


async def leavers(address: tuple[str, int], over: asyncio.Event, dice: random.Random) -> None:
    """Asks, and is gone before there is an answer; once more, and once more."""
    while not over.is_set():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(*address)
            writer.write(post(1)[: dice.choice((90, 100_000))])
            writer.transport.abort()
        await asyncio.sleep(2.0)


KINDS: dict[str, Behave] = {
    "heads": heads, "bodies": bodies, "readers": readers, "idle ones": idle, "ones that leave": leavers
}  # fmt: skip


def slow_clients(address: tuple[str, int], chosen: list[str], seed: str, over: Any) -> None:
    """All of them, in a process of their own, until `over` is set."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    async def run() -> None:
        ended = asyncio.Event()
        each = [
            KINDS[chosen[n % len(chosen)]](address, ended, random.Random(f"{seed} {n}"))
            for n in range(SLOW_CLIENTS)
        ]
        tasks = [asyncio.create_task(one) for one in each]
        await asyncio.to_thread(over.wait)
        ended.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


@contextmanager
def open_slow(scratch: Path) -> Iterator[Try]:
    model = models.save(scratch / "digits", models.mlp(), {"x": [[0.5] * 64]})
    with ServerProcess(f"digits={model}", home=scratch / "home", log_level="error") as server:
        yield lambda case: beside(case, server)


def beside(case: Case, server: ServerProcess) -> Tried:
    """Hundreds of slow clients of one kind, or of all, beside good ones, who are answered as they are without them."""
    kinds, spawn = list(KINDS), multiprocessing.get_context("fork")
    chosen = [kinds[case.number % len(kinds)]] if case.number % 6 else kinds
    over = spawn.Event()
    slow = spawn.Process(
        target=slow_clients, args=(server.address, chosen, f"{case.seed} {case.number}", over)
    )
    alone = good(server, BESIDE_SECONDS)
    slow.start()
    try:
        settle(server)
        besides, megabytes = good(server, BESIDE_SECONDS), memory(server)
    finally:
        over.set()
        slow.join(30)
        slow.kill()
    bad = [each for each in (*alone.asked, *besides.asked) if each.status != 200]
    if bad:
        raise Wrong(
            f"beside {chosen} good clients were answered {[(e.status, e.ended) for e in bad[:5]]} ({len(bad)} times)"
        )
    share, by_cpu = besides.rate / alone.rate, alone.cost / besides.cost
    if max(share, by_cpu) < 0.5:
        raise Wrong(
            f"beside {chosen} good clients have {share:.2f} of their answers, {by_cpu:.2f} by CPU time"
        )
    figures = {
        "goodput": share,
        "goodput by CPU time": by_cpu,
        "p99 ms": besides.p99 * 1e3,
        "server MB": megabytes,
    }
    return Tried("every good client was answered", 1, figures)


def settle(server: ServerProcess) -> None:
    """Until what the slow ones asked for is computed: what is measured is what their slowness costs."""
    end, calm = time.monotonic() + SETTLE_SECONDS, 0
    while time.monotonic() < end and calm < 6:
        before = cpu_seconds(server.process.pid)
        time.sleep(0.5)
        calm = calm + 1 if cpu_seconds(server.process.pid) - before < 0.05 else 0


class Good(NamedTuple):
    """What some good clients had of it."""

    asked: list[Asked]
    rate: float
    p99: float
    cost: float


def good(server: ServerProcess, seconds: float) -> Good:
    cpu, start = cpu_seconds(server.process.pid), time.monotonic()
    asker = Asker(server.address, [post(1), post(8)])
    time.sleep(seconds)
    asked = asker.stop()
    took, used = time.monotonic() - start, cpu_seconds(server.process.pid) - cpu
    times = sorted(each.came - each.sent for each in asked if each.came)
    return Good(asked, len(times) / took, times[int(0.99 * (len(times) - 1))], used / max(1, len(times)))


def memory(server: ServerProcess) -> float:
    (worker,) = server.children("infra.serving.processes.worker")
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextmanager
def open_overloads(scratch: Path) -> Iterator[Try]:
    model = models.save(scratch / "digits", models.slow(OVERLOADED, size=512), {"x": [[0.5] * 512]})
    with ServerProcess(f"digits={model}", home=scratch / "home", log_level="error") as server:
        yield lambda case: asyncio.run(overloaded(server))


async def overloaded(server: ServerProcess) -> Tried:
    """Ten times the peak: the work goes on, the rest is told when to come back, and soon after it is as if nothing had been."""
    client = overload.Client(server.address, b"")
    client.request = post(1, width=512)

    def cpu() -> float:
        return cpu_seconds(server.process.pid)

    await client.closed(overload.CLIENTS[-1], 0.5)
    clients = await client.most()
    peak = await client.peak(clients, cpu, BEFORE_SECONDS)
    steady = overload.p99(await client.offered(peak.rate / 3, BEFORE_SECONDS))
    had, start = cpu(), time.perf_counter()
    over = await client.offered(OVER * peak.rate, OVER_SECONDS)
    ended, used = time.perf_counter(), cpu() - had
    after = await client.offered(peak.rate / 3, AFTER_SECONDS)
    peaks = [peak, await client.peak(clients, cpu, BEFORE_SECONDS)]  # the machine's speed changes meanwhile
    client.close()
    served = sum(answer.status == 200 for answer in over)
    last = max(answer.sent for answer in over)  # what waits then is answered after it, and is not overload
    share = overload.useful(over, start, last) / statistics.mean(each.rate for each in peaks)
    offered = len(over) / (last - start) / peak.rate
    by_cpu = served * statistics.mean(each.cost for each in peaks) / used
    late = [a.sent + a.took for a in after if a.status != 200 or a.took > 3 * steady + 0.05]
    recovery = max(late, default=ended) - ended
    other = sorted({answer.status for answer in over} - {200, 429, 503})
    untold = sum(not answer.retry for answer in over if answer.status != 200)
    if max(share, by_cpu) < LEAST or recovery > RECOVERY or other or untold:
        raise Wrong(
            f"{share:.2f} of the peak ({by_cpu:.2f} by CPU time), recovered after {recovery:.1f} s, answered {other}, {untold} not told when to come back"
        )
    figures = {
        "useful work": share,
        "useful work by CPU time": by_cpu,
        "s to recover": recovery,
        "clients at the peak": clients,
        "offered, times the peak": offered,
    }
    return Tried(
        "useful work went on"
        if offered > 0.9 * OVER
        else "useful work went on, at less than was meant to be offered",
        1,
        figures,
    )


PARTS = (
    Part("endings", f"SIGTERM amid requests of {CLIENTS} clients", ENDINGS, open_endings, alone=True),
    Part("slow", f"{SLOW_CLIENTS} slow clients beside {CLIENTS} good ones", SLOW, open_slow, alone=True),
    Part("overload", f"{OVER} times what the server can do, for {OVER_SECONDS:.0f} s", OVERLOADS, open_overloads, alone=True),
)  # fmt: skip
