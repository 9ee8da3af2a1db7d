"""A process that answers: uvicorn with the fast path, holding the models it is told to hold."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Collection
from types import FrameType, ModuleType
from typing import Any

import uvicorn.server
import uvloop

from infra.serving.http.asgi import App
from infra.serving.http.fast_path_check import BY_H11, Attributes, first, lacks, protocol_for
from infra.serving.http.routes import Routes
from infra.serving.http.service import Service
from infra.serving.ipc.channel import Channel
from infra.serving.ipc.log import set_up
from infra.serving.ipc.messages import (
    BEAT_SECONDS,
    Beat,
    Found,
    Message,
    Nudge,
    Refusal,
    Release,
    Revert,
    Rollout,
    Up,
)
from infra.serving.lifecycle.loading import Loader
from infra.serving.models.recording import Recorder
from infra.serving.options import MAX_HEAD, ProcessJob
from infra.serving.processes.tallies import tallies
from infra.serving.telemetry.board import Board
from infra.serving.telemetry.metrics import Metrics

logger = logging.getLogger("slipway.serving")

LOAD_SECONDS = 30.0

AFTER_PARENT = 0.05

TALLY_SECONDS = 10.0

SWITCH_SECONDS = 0.0005
"""How long a thread that reads a large body keeps the event loop waiting; Python's own is ten times that."""


class Worker:
    """The models of this process and its line to the supervisor."""

    def __init__(self, job: ProcessJob, channel: Channel) -> None:
        self.job = job
        self.channel = channel
        self.board = Board()
        self.service = Service(job.targets, job.options, asyncio.get_running_loop())
        self.metrics = Metrics(self.service.slots, self.board, job.run_folder, job.slot, self.service.others)
        self.routes = Routes(self.service, self.board, self.metrics, lambda: channel.send(Nudge()))
        self.app = App(self.service, self.routes)
        self.loader = Loader(self.service.slots, job.options, self._tell)
        self.up = asyncio.Event()
        self.troubles: dict[str, str] = {}
        self.connections: Collection[object] = ()
        self.recorder: Recorder | None = None
        self.process, self.tallied = f"{os.getpid()}-{int(time.time())}", 0.0
        if job.options.record:
            self._record()

    async def listen(self) -> None:
        """Act on what the supervisor says, until it is gone; then stop."""
        pending: set[asyncio.Task[None]] = set()
        async for message in self.channel.messages():
            self.board.note(message)
            if isinstance(message, Revert):
                self.loader.follow(message)
                continue
            if isinstance(message, Found):
                self._have_room(message)
                continue
            if isinstance(message, Refusal):
                self._was_refused(message)
            if isinstance(message, Rollout):
                task = asyncio.create_task(self._roll(message), name="roll")
            elif isinstance(message, Release):
                task = asyncio.create_task(self.loader.load(message), name="load")
            elif isinstance(message, Refusal) and message.stops:
                task = asyncio.create_task(self.loader.stop(message), name="stop")
            else:
                continue
            pending.add(task)
            task.add_done_callback(pending.discard)
            task.add_done_callback(self._ended)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _roll(self, rollout: Rollout) -> None:
        """With somewhere to write what differs, whatever else is recorded."""
        if rollout.release is not None and self.recorder is None:
            try:
                self._record()
            except OSError as error:
                logger.error("pairs of %s that differ cannot be recorded: %s", rollout.model, error)
        await self.loader.roll(rollout)

    def _record(self) -> None:
        options = self.job.options
        self.recorder = Recorder(options.home, options.record, self.job.slot)
        for slot in self.service.slots.values():
            slot.recorder = self.recorder

    def _tell(self, message: Message) -> None:
        self.board.note(message)
        self.channel.send(message)
        if isinstance(message, Refusal):
            self._was_refused(message)
        self._say_when_up()

    def _have_room(self, found: Found) -> None:
        for slot in self.service.follow(found.targets):
            slot.recorder = self.recorder
        self._say_when_up()

    def _was_refused(self, refusal: Refusal) -> None:
        self.service.refused(refusal.model)
        self._say_when_up()

    def _say_when_up(self) -> None:
        if self.service.ready and not self.up.is_set():
            self.up.set()
            self.channel.send(Up())

    async def warm_up(self) -> None:
        """Import what the first scrape needs, once there is time for it; then collect no garbage among what stays."""
        await self.up.wait()
        await asyncio.to_thread(import_exposition)
        gc.freeze()

    def _sweep(self) -> None:
        """Connections that are idle or slow for too long; only those of the fast path can tell."""
        now = self.service.clock = time.monotonic()
        for connection in list(self.connections):
            if hasattr(connection, "sweep"):
                connection.sweep(now)

    async def tick(self) -> None:
        """The slow heartbeat: keys that changed, numbers for the siblings, and a word to the supervisor that all is well."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            troubles = self.service.troubles()
            if troubles == {}:
                self.channel.send(Beat())
            elif troubles != self.troubles:
                for name, trouble in troubles.items():
                    logger.error("%s: %s; this worker is to be replaced", name, trouble)
            self.troubles = troubles
            if not self.up.is_set():
                continue
            if time.monotonic() >= self.tallied + TALLY_SECONDS:
                self.tallied = time.monotonic()
                for tally in tallies(self.service.slots.values(), self.process):
                    self.channel.send(tally)
            self.service.keys.refresh()
            self._sweep()
            with contextlib.suppress(
                OSError
            ):  # a full disk makes the siblings' and successors' view old, and no more
                self.metrics.save()

    def start(self) -> list[asyncio.Task[None]]:
        """What goes on beside the answers, as long as the worker does."""
        works = {"listen": self.listen(), "tick": self.tick(), "warm up": self.warm_up()}
        tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        for task in tasks:
            task.add_done_callback(self._ended)
        return tasks

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A task that failed is a fault: without it the worker is not whole, and is replaced."""
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the worker's task %r failed", task.get_name(), exc_info=error)
            self.service.faults[task.get_name()] = f"it failed ({type(error).__name__})"


def import_exposition() -> None:
    import infra.serving.telemetry.exposition  # noqa: F401


METHODS = ("handle_exit(self, sig, frame)", "shutdown(self, sockets)")
"""Methods of uvicorn's server that ours overrides."""

ATTRIBUTES: Attributes = {
    ("Server", "__init__"): ("config", "server_state", "should_exit"),
    ("Server", "startup"): ("lifespan", "servers"),
    ("ServerState", "__init__"): ("connections",),
    ("Config", "load"): ("http_protocol_class",),
}
"""Attributes that it reads or sets, by the class and the method that make or use them."""


class Server(uvicorn.Server):
    """uvicorn's server, which first says that it is no longer ready and only then stops."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self.worker = worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.worker.service.draining:
            self.should_exit = True
            return
        self.worker.service.draining = True
        loop = asyncio.get_running_loop()
        delay = self.worker.job.options.drain_delay + AFTER_PARENT  # the supervisor closes its listener first
        loop.call_later(delay, lambda: setattr(self, "should_exit", True))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what has connected up to the last moment: closing a listener resets what waits in its backlog."""
        listeners = [listener.dup() for listener in sockets or ()]
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        await asyncio.sleep(0)
        waiting = [connection for listener in listeners for connection in accept_all(listener)]
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await super().shutdown([])

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def server_for(worker: Worker, config: uvicorn.Config, module: ModuleType = uvicorn.server) -> uvicorn.Server:
    """Ours; on a uvicorn that has something of it otherwise, its own."""
    reason = first(lacks(module, "Server", METHODS, ATTRIBUTES))
    if reason is None:
        return Server(config, worker)
    logger.warning(
        "this uvicorn stops at once, without a drain delay, and may lose requests then: %s", reason
    )
    return uvicorn.Server(config)


def accept_all(listener: socket.socket) -> list[socket.socket]:
    """Every connection that waits on a listener, which is closed with the last."""
    listener.setblocking(False)
    waiting = []
    with listener, contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(listener.accept()[0])
    return waiting


async def run(job: ProcessJob, line: socket.socket, listener: socket.socket) -> None:
    worker = Worker(job, await Channel.open(line))
    options = job.options
    protocol = protocol_for(worker.service)
    config = uvicorn.Config(
        worker.app,
        http=protocol,
        limit_concurrency=options.max_connections if protocol == BY_H11 else None,  # ours count by themselves
        h11_max_incomplete_event_size=MAX_HEAD,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=int(options.keep_alive),
        timeout_graceful_shutdown=max(1, int(options.drain)),
        backlog=4096,
    )
    server = server_for(worker, config)
    worker.connections = server.server_state.connections
    tasks = worker.start()
    try:
        if job.load_first:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOAD_SECONDS):
                    await worker.up.wait()
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        if worker.recorder is not None:
            worker.recorder.close()


def main() -> None:
    """Started by the supervisor: the job on standard input, the line as a descriptor, the listening socket over it."""
    text = sys.stdin.buffer.read()
    if not text:  # started early, and not needed after all
        return
    job, line = ProcessJob.model_validate_json(text), socket.socket(fileno=int(sys.argv[1]))
    listener = socket.socket(fileno=socket.recv_fds(line, len(b"listener"), 1)[1][0])
    set_up(job.options.log_level, f"worker {job.slot}")
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(run(job, line, listener))


if __name__ == "__main__":
    main()
