"""Parts of the campaign about the registry: away for an hour of polls with a restart amid it, and permits that are withdrawn."""

import asyncio
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import serving_models as models
from campaign import Case, Part, Tried, Try, Wrong
from mlflow_process import MlflowProcess
from serving_process import ServerProcess, move, permit, publish, wait_for

NAME = "digits"

OUTAGES, POLLS, SILENT_POLLS = 8, 3_600, 60
"""An hour at a poll a second; one that says nothing keeps each poll waiting."""

WITHDRAWALS, MOST_POLLS = 50, 2

KINDS = ("refused", "unavailable", "garbage", "silent")

GROWTH, MORE_FILES, MOST_TO_RECOVER = 24.0, 8, 3

LOOK = b"alias=champion"

A_TRY = 0.25
"""Of a poll: where nothing was answered, it comes back three times."""

BODY = json.dumps({"inputs": {"x": [[0.5] * 64]}}).encode()

JSON = {"Content-Type": "application/json"}

SOON = """
import sys
if "infra.serving.processes.follower" in sys.orig_argv:
    import urllib3.util.retry as retry
    retry.Retry.sleep = lambda self, response=None: None
"""
"""Tries follow each other at once, so that an hour of polls takes minutes."""


class Gate:
    """What stands before a registry: lets everything through, or is down in a way. `looks`: how often somebody asked."""

    def __init__(self, uri: str) -> None:
        self.behind = int(uri.rpartition(":")[2])
        self.kind, self.looks = "open", 0.0
        self.loop = asyncio.new_event_loop()
        self.ends: set[asyncio.StreamWriter] = set()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.loop.create_task(asyncio.start_server(self._take, sock=listener))
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def turn(self, kind: str) -> None:
        """From now on; connections that there are end."""

        async def turned() -> None:
            self.kind = kind
            for end in self.ends:
                end.transport.abort()

        asyncio.run_coroutine_threadsafe(turned(), self.loop).result(10)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ends.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await (self._pass(reader, writer) if self.kind == "open" else self._fail(reader, writer))
        self.ends.discard(writer)
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.behind)
        await asyncio.wait(
            [asyncio.create_task(self._copy(*pair)) for pair in ((reader, ours), (theirs, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        ours.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                self.looks += data.count(LOOK)
                writer.write(data)
                await writer.drain()

    async def _fail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.kind == "refused":
            end = writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.looks += A_TRY
            writer.transport.abort()
            return
        await reader.readuntil(b"\r\n\r\n")
        self.looks += A_TRY if self.kind == "unavailable" else 1
        if self.kind == "silent":
            await reader.read(1)
            return
        head, body = (
            (b"503 Service Unavailable", b"") if self.kind == "unavailable" else (b"200 OK", b"<html>{")
        )
        writer.write(
            b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (head, len(body), body)
        )
        await writer.drain()


class Client(threading.Thread):
    """Asks again and again: which version answered last, and what was not answered."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.address, self.going, self.asked = address, True, 0
        self.version: str | None = None
        self.failures: list[str] = []
        self.start()

    def run(self) -> None:
        connection = HTTPConnection(*self.address, timeout=30)
        while self.going:
            try:
                connection.request("POST", "/invocations", BODY, JSON)
                answer = connection.getresponse()
                answer.read()
                self.version = answer.headers["X-Model-Version"]
                if answer.status != 200:
                    self.failures.append(str(answer.status))
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
            self.asked += 1
            time.sleep(0.004)

    def end(self) -> None:
        self.going = False
        self.join(30)


class Fleet:
    """Two versions that may serve, a registry behind a gate, and servers of one home."""

    def __init__(self, scratch: Path) -> None:
        self.registry = MlflowProcess(scratch).start()
        self.uri = self.registry.url
        self.gate = Gate(self.uri)
        self.home, self.ahead = scratch / "home", scratch / "ahead"
        self.serial = 1
        try:
            self.versions = list(self._published(scratch))
            self.champion(0)
        except BaseException:
            self.close()
            raise

    def _published(self, scratch: Path) -> Iterator[str]:
        os.environ["SLIPWAY_HOME"] = str(self.home)
        self.ahead.mkdir()
        (self.ahead / "sitecustomize.py").write_text(SOON)
        for seed in (1, 2):
            folder = models.save(scratch / f"m{seed}", models.mlp(seed=seed), {"x": [[0.5] * 64]})
            models.seal(folder, NAME)
            yield publish(self.uri, NAME, folder)

    def champion(self, at: int) -> str:
        move(self.uri, NAME, "champion", self.versions[at % 2])
        move(self.uri, NAME, "previous", self.versions[(at + 1) % 2])
        return self.versions[at % 2]

    def serve(self, poll: float) -> ServerProcess:
        return ServerProcess(
            f"{NAME}@champion", home=self.home, ahead=self.ahead, tracking_uri=self.gate.uri, poll=poll, log_level="error", watch=0
        )  # fmt: skip

    def close(self) -> None:
        self.registry.kill()
        self.gate.loop.call_soon_threadsafe(self.gate.loop.stop)


@contextmanager
def open_outages(scratch: Path) -> Iterator[Try]:
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
    fleet = Fleet(scratch)
    try:
        yield lambda case: outage(case, fleet)
    finally:
        fleet.close()


def follower(server: ServerProcess) -> tuple[float, float]:
    """Megabytes and open files of what follows and of what answers."""
    pids = server.children("infra.serving.processes.follower") + server.children(
        "infra.serving.processes.worker"
    )
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    size = sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    return size, float(sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids))


def outage(case: Case, fleet: Fleet) -> Tried:
    """The registry is away, the alias is moved meanwhile, the pod is replaced; and then it is back."""
    kind, gate, number = KINDS[case.number % len(KINDS)], fleet.gate, case.number
    polls = SILENT_POLLS if kind == "silent" else POLLS
    before, seen, sizes = fleet.champion(number), 0.0, list[tuple[float, float]]()
    server = fleet.serve(0.01)
    try:
        wait_for(lambda: server.post("/invocations", BODY).version == before)
        for half in range(2):
            gate.turn(kind)
            client, start = Client(server.address), gate.looks
            sizes_of_this: list[tuple[float, float]] = []
            while gate.looks - start < polls / 2:
                time.sleep(0.5)
                if gate.looks - start > polls / 20:
                    sizes_of_this.append(follower(server))
            _check_ready(server, kind)
            client.end()
            seen += gate.looks - start
            sizes += [
                (size - sizes_of_this[0][0], files - sizes_of_this[0][1]) for size, files in sizes_of_this
            ]
            if client.failures or client.version != before:
                raise Wrong(
                    f"{kind}: version {client.version} answered, not {before}; {len(client.failures)} failed: {client.failures[:3]}"
                )
            if half == 0:
                after = fleet.champion(number + 1)
                if server.stop() != 0:
                    raise Wrong(f"{kind}: it ended with {server.process.returncode}")
                server = fleet.serve(0.01)
        back, start = time.monotonic(), gate.looks
        gate.turn("open")
        wait_for(lambda: server.get("/health").json["models"][NAME]["registry_error"] is None, pause=0.002)
        recovered = gate.looks - start
        wait_for(lambda: server.post("/invocations", BODY).version == after)
        took = time.monotonic() - back
        if _behind(server):
            raise Wrong(f"{kind}: /ready still says {_behind(server)}")
    finally:
        gate.turn("open")
        server.stop()
    megabytes, files = max(size for size, _ in sizes), max(files for _, files in sizes)
    if megabytes > GROWTH or files > MORE_FILES or recovered > MOST_TO_RECOVER:
        raise Wrong(
            f"{kind}: {megabytes:.0f} MB and {files:.0f} files more, recovered after {recovered} polls"
        )
    figures = {
        "polls": seen,
        "MB more at most": megabytes,
        "files more at most": files,
        "polls to recover": recovered,
        "s to the version named meanwhile": took,
    }
    return Tried(f"{kind}: served throughout", 1, figures)


def _behind(server: ServerProcess) -> Any:
    return server.get("/ready").json["behind"]


def _check_ready(server: ServerProcess, kind: str) -> None:
    answer = server.get("/ready")
    said = answer.json["behind"].get(NAME, {}).get("reason", "")
    if answer.status != 200 or "registry cannot be read" not in said:
        raise Wrong(f"{kind}: /ready answers {answer.status}, {answer.json}")


@contextmanager
def open_withdrawals(scratch: Path) -> Iterator[Try]:
    os.environ.pop("MLFLOW_HTTP_REQUEST_TIMEOUT", None)
    fleet = Fleet(scratch)
    try:
        with fleet.serve(0.5) as server:
            client = Client(server.address)
            # both are in the cache, as a champion and the one before it are
            wait_for(lambda: len(list((fleet.home / "serving" / "cache").glob("*.inspected"))) == 2)
            yield lambda case: withdraw(case, fleet, client)
            client.end()
    finally:
        fleet.close()


def withdraw(case: Case, fleet: Fleet, client: Client) -> Tried:
    """How many polls it takes until a version whose permit is withdrawn answers nobody."""
    bad, gate = fleet.versions[0], fleet.gate
    wait_for(lambda: client.version == bad)
    time.sleep(case.dice.uniform(0.5, 1.5))
    fleet.serial += 1
    permit(fleet.uri, NAME, bad, granted=False, serial=fleet.serial, basis="ledger", why="wrong sevens")
    start, looks = time.monotonic(), gate.looks
    wait_for(lambda: client.version != bad, pause=0.001)
    took, polls = time.monotonic() - start, gate.looks - looks
    fleet.serial += 1
    permit(fleet.uri, NAME, bad, serial=fleet.serial)
    if client.failures:
        raise Wrong(f"{len(client.failures)} answers failed: {client.failures[:3]}")
    if polls > MOST_POLLS:
        raise Wrong(f"{polls} polls, {took:.2f} s")
    return Tried("the version before answered", 1, {"polls": float(polls), "s at a poll each 0.5 s": took})


PARTS = (
    Part("outages", f"the registry away for {POLLS:,} polls, a pod replaced amid them", OUTAGES, open_outages, alone=True),
    Part("withdrawals", "permits withdrawn of the version that serves", WITHDRAWALS, open_withdrawals, alone=True),
)  # fmt: skip
