"""The process that owns the port: starts workers and the follower, passes messages between them, and ends them in order."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import orjson

from infra.serving.channel import Channel
from infra.serving.messages import Looked, Message, Nudge, Refusal, Release, Revert, Swap, Up
from infra.serving.options import Job, ServeOptions, Target

logger = logging.getLogger("slipway.serving")

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A process of the server, started again when it ends by itself."""

    def __init__(self, name: str, module: str, job: Job, listener: socket.socket | None) -> None:
        self.name = name
        self.module = module
        self.job = job
        self.listener = listener
        self.channel: Channel | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.started = 0.0

    async def start(self) -> Channel:
        ours, theirs = socket.socketpair()
        inherited = [theirs.fileno()] + ([self.listener.fileno()] if self.listener else [])
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.module,
            *map(str, inherited),
            pass_fds=inherited,
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        theirs.close()
        assert self.process.stdin is not None
        self.process.stdin.write(self.job.model_dump_json().encode())
        self.process.stdin.close()
        self.started = time.monotonic()
        self.channel = await Channel.open(ours)
        return self.channel


class Supervisor:
    """Workers, follower, and what is known between them."""

    def __init__(
        self, targets: tuple[Target, ...], options: ServeOptions, listener: socket.socket, run_folder: Path
    ) -> None:
        self.targets = targets
        self.options = options
        self.listener = listener
        self.workers = [
            Child(
                f"worker {slot}",
                "infra.serving.worker",
                Job(targets=targets, options=options, run_folder=run_folder, slot=slot),
                listener,
            )
            for slot in range(options.workers)
        ]
        job = Job(targets=targets, options=options, run_folder=run_folder)
        self.follower = Child("follower", "infra.serving.follower", job, None)
        self.releases: dict[tuple[str, bool], Release] = {}
        self.state: dict[tuple[str, str, bool], Message] = {}
        self.up: set[int] = set()
        self.announced = False
        self.ending = asyncio.Event()
        self.failure: str | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ending.set)
        tasks = [asyncio.create_task(self._keep(child)) for child in (*self.workers, self.follower)]
        await self.ending.wait()
        await self._end()
        for task in tasks:
            task.cancel()
        return 2 if self.failure else 0

    async def _keep(self, child: Child) -> None:
        """Run a child, hear it out, and start it again with growing pauses."""
        pause = 0.1
        while not self.ending.is_set():
            channel = await child.start()
            if child is not self.follower:
                for message in (*self.state.values(), *self.releases.values()):
                    channel.send(message)
            async for message in channel.messages():
                self._heard(child, message)
            assert child.process is not None
            code = await child.process.wait()
            channel.close()
            if self.ending.is_set():
                return
            pause = 0.1 if time.monotonic() - child.started > 30 else min(5.0, pause * 2)
            logger.error("%s ended with %d; started again in %.1f s", child.name, code, pause)
            await asyncio.sleep(pause)

    def _heard(self, child: Child, message: Message) -> None:
        """Pass a message on to whom it concerns."""
        if child is self.follower:
            if isinstance(message, Release):
                self.releases[message.model, message.shadow] = message
            elif isinstance(message, Looked | Refusal):
                self.state[message.kind, message.model, message.shadow] = message
                self._fail_early(message)
            self._tell(self.workers, message)
        elif isinstance(message, Up):
            self.up.add(self.workers.index(child))
            self._announce()
        elif isinstance(message, Swap | Refusal | Revert | Nudge):
            self._tell([self.follower], message)

    def _tell(self, children: list[Child], message: Message) -> None:
        for child in children:
            if child.channel is not None:
                child.channel.send(message)

    def _fail_early(self, message: Message) -> None:
        """A folder that cannot be served will not get better by waiting, unlike an alias."""
        if isinstance(message, Refusal) and any(
            t.path is not None and t.name == message.model for t in self.targets
        ):
            self.failure = f"{message.source} cannot be served: {message.reason}"
            self.ending.set()

    def _announce(self) -> None:
        if len(self.up) < len(self.workers) or self.announced:
            return
        self.announced = True
        host, port = self.listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        models = {
            release.model: {"version": release.version, "digest": release.digest}
            for release in self.releases.values()
        }
        sys.stdout.buffer.write(
            orjson.dumps({"url": f"http://{shown}:{port}", "pid": os.getpid(), "models": models}) + b"\n"
        )
        sys.stdout.buffer.flush()

    async def _end(self) -> None:
        """Workers first, with the time they were promised; the follower last."""
        await stop(self.workers, self.options.drain_delay + self.options.drain + 3)
        await stop([self.follower], 2)


async def stop(children: list[Child], patience: float) -> None:
    """SIGTERM, then SIGKILL for what is still there."""
    running = [
        child.process for child in children if child.process is not None and child.process.returncode is None
    ]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    if running:
        _, late = await asyncio.wait(
            [asyncio.create_task(process.wait()) for process in running], timeout=patience
        )
        for process in running if late else ():
            if process.returncode is None:
                process.kill()
                await process.wait()
