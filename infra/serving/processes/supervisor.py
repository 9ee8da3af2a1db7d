"""The process that owns the port: starts workers and the follower, passes messages between them, and ends them in order."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import orjson

from infra.serving.ipc.channel import Channel
from infra.serving.ipc.child import Child, stop
from infra.serving.ipc.launch import FOLLOWER, WORKER, Started
from infra.serving.ipc.messages import (
    Beat,
    Event,
    Found,
    Message,
    Nudge,
    Refusal,
    RegistryCheck,
    Release,
    Rollout,
    Swap,
    Tally,
    Told,
    Up,
)
from infra.serving.lifecycle.alias_state import AliasState
from infra.serving.options import ProcessJob, ServeOptions, Target
from infra.serving.telemetry.board import Board

logger = logging.getLogger("slipway.serving")

STABLE = 30.0

LOOK = 1.0

SILENT_LOOKS = 60
"""Looks after which a process that says nothing is replaced. They are counted, not timed: whoever is stopped and continued
as a whole, as a laptop that sleeps is, finds nothing wrong. A large model that loads may silence it for some."""

CONVERGE_SECONDS = 0.5


class Supervisor:
    """Workers, follower, and what is known between them."""

    def __init__(
        self,
        targets: tuple[Target, ...],
        options: ServeOptions,
        listener: socket.socket,
        run_folder: Path,
        ahead: dict[str, Started],
    ) -> None:
        self.targets = targets
        self.options = options
        self.listener = listener
        jobs = [
            ProcessJob(targets=targets, options=options, run_folder=run_folder, slot=slot)
            for slot in range(options.workers)
        ]
        self.workers = [
            Child(f"worker {job.slot}", WORKER, job, listener, ahead.pop(WORKER, None)) for job in jobs
        ]
        self.follower = Child("follower", FOLLOWER, jobs[0], None, ahead.pop(FOLLOWER, None))
        self.states: dict[str, AliasState] = {}
        self.board = Board()
        self.checks: dict[str, RegistryCheck] = {}
        self.rollouts: dict[str, Rollout] = {}
        self.told: dict[str, Told] = {}
        self.found: Found | None = None
        self.up: set[str] = set()
        self.replaced: set[str] = set()
        self.announced = False
        self.ending = asyncio.Event()
        self.interrupted = False
        self.failure: str | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        keeping = [asyncio.create_task(self.keep(child)) for child in (*self.workers, self.follower)]
        keeping.append(asyncio.create_task(self.look()))
        keeping.append(asyncio.create_task(self._converge()))
        logger.info("listening on %s", self.url)
        await self.ending.wait()
        loop.call_later(self.options.drain_delay, self.listener.close)
        await stop(self.workers, self._patience(self.workers[0]))
        await stop([self.follower], self._patience(self.follower))
        for task in keeping:
            task.cancel()

    def _end(self, number: int) -> None:
        """The first signal starts the drain; a second one cuts its delay short."""
        self.interrupted |= number == signal.SIGINT
        if self.ending.is_set():
            self.listener.close()
            for worker in self.workers:
                worker.terminate()
        self.ending.set()

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def keep(self, child: Child) -> None:
        """Run a child, hear it out, and start it again with growing pauses."""
        pause = 0.1
        while not self.ending.is_set():
            try:
                channel = await self._start(child)
            except OSError as error:  # no memory or no room for a process now
                pause = min(5.0, pause * 2)
                logger.error("%s cannot be started (%s); tried again in %.1f s", child.name, error, pause)
                await asyncio.sleep(pause)
                continue
            try:
                async for message in channel.messages():
                    self._receive(child, message)
            except Exception as error:  # or nobody would keep it from now on
                logger.error("%s said what cannot be taken in; it is replaced", child.name, exc_info=error)
                child.kill()
            code = await child.ended()
            channel.close()
            if self.ending.is_set():
                return
            pause = 0.1 if time.monotonic() - child.started > STABLE else min(5.0, pause * 2)
            logger.error("%s ended with %d; started again in %.1f s", child.name, code, pause)
            self.up.discard(child.name)
            if child is not self.follower and child.name not in self.replaced:
                self._blame()
            self.replaced.discard(child.name)
            await asyncio.sleep(pause)

    def _patience(self, child: Child) -> float:
        """Seconds that a process has to end: a worker answers what it took, the follower holds nothing."""
        return 2.0 if child is self.follower else self.options.drain_delay + self.options.drain + 3

    async def look(self) -> None:
        """Replace a process that hangs: it was alive and has said nothing for a long time. A worker may answer what it still can."""
        while not self.ending.is_set():
            await asyncio.sleep(LOOK)
            for child in (*self.workers, self.follower):
                if child.silence is None:
                    continue
                child.silence += 1
                if child.silence == SILENT_LOOKS:
                    logger.error(
                        "%s hangs: it has said nothing for %d s and is replaced",
                        child.name,
                        SILENT_LOOKS * LOOK,
                    )
                    child.terminate()
                elif child.silence > SILENT_LOOKS + self._patience(child) / LOOK:
                    child.silence = None
                    child.kill()

    async def _converge(self) -> None:
        """All workers serve the same, whatever a message, a full memory or a revert left one of them with."""
        while len(self.workers) > 1:
            await asyncio.sleep(CONVERGE_SECONDS)
            for state in self.states.values():
                for worker in self.workers:
                    release = state.missing(worker.name)
                    if release is None:
                        continue
                    if state.stubborn(worker.name) and not self.replaced and len(self.up) > 1:
                        logger.error(
                            "%s cannot load what its siblings serve; it is started anew", worker.name
                        )
                        self.replaced.add(worker.name)
                        worker.terminate()
                    else:
                        self._tell([worker], release)

    async def _start(self, child: Child) -> Channel:
        """Start a child, and tell a worker where things stand."""
        releases = [release for state in self.states.values() for release in state.wanted()]
        channel = await child.start(load_first=any(state.serving for state in self.states.values()))
        if child is not self.follower:
            for state in self.states.values():
                state.started(child.name)
            if self.found is not None:
                channel.send(self.found)
            told = (*releases, *reversed(self.board.events), *self.checks.values(), *self.rollouts.values())
            for message in (*told, *self.told.values()):
                channel.send(message)
        return channel

    def _blame(self) -> None:
        """A worker died by itself: a version that was being loaded, or that twice did not survive its first minutes, is to blame."""
        for state in self.states.values():
            message = state.worker_died(self.options.watch)
            if message is not None:
                logger.error("%s version %s is refused: %s", message.model, message.version, message.reason)
                self.board.note(message)
                self._tell([*self.workers, self.follower], message)

    def _receive(self, child: Child, message: Message) -> None:
        """Pass a message on to whom it concerns."""
        if isinstance(message, Beat):
            child.silence = 0
            return
        if child is self.follower:
            if isinstance(message, Release):
                if self.states.setdefault(message.model, AliasState()).offer(message):
                    self._tell([self.follower], Swap(**message.named, seconds=0))
            elif isinstance(message, Refusal) and message.stops:
                self.states.setdefault(message.model, AliasState()).stop(message.version)
            elif isinstance(message, Found):
                known = () if self.found is None else self.found.targets
                self.found = Found(targets=tuple(dict.fromkeys((*known, *message.targets))))
            elif isinstance(message, RegistryCheck):
                self.checks[message.model] = message
            elif isinstance(message, Rollout):
                self.rollouts[message.model] = message
            elif isinstance(message, Told):
                self.told[message.model] = message
            self.board.note(message)
            self._fail_early(message)
            self._tell(self.workers, message)
        elif isinstance(message, Up):
            self.up.add(child.name)
            self._announce()
        else:
            self._pass_on(child, message)

    def _pass_on(self, child: Child, message: Message) -> None:
        """What one worker did, the others and the follower hear once, however many of them do the same."""
        if isinstance(message, Event):
            state = self.states.get(message.model)
            if state is not None:
                state.receive(message, child.name, len(self.workers))
            if self.board.note(message):
                self._tell([worker for worker in self.workers if worker is not child], message)
                self._tell([self.follower], message)
        elif isinstance(message, Nudge | Tally):
            self._tell([self.follower], message)

    def _tell(self, children: list[Child], message: Message) -> None:
        for child in children:
            if child.channel is not None:
                child.channel.send(message)

    def _fail_early(self, message: Message) -> None:
        """A folder that cannot be served will not get better by waiting, unlike an alias."""
        for target in self.targets:
            if isinstance(message, Refusal) and target.path is not None and target.name == message.model:
                self.failure = f"{target} cannot be served: {message.reason}"
                self.ending.set()

    def _announce(self) -> None:
        if len(self.up) < len(self.workers) or self.announced:
            return
        self.announced = True
        models = {
            state.serving.model: {"version": state.serving.version, "digest": state.serving.digest}
            for state in self.states.values()
            if state.serving is not None
        }
        line = {"url": self.url, "pid": os.getpid(), "models": models}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.buffer.flush()
