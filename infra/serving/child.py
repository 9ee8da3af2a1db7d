"""A process of the server: how it is started, spoken to and ended."""

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.serving.channel import Channel
from infra.serving.options import Job

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A process with a line to it; it gets its job on standard input and its sockets as descriptors."""

    def __init__(self, name: str, module: str, job: Job, listener: socket.socket | None) -> None:
        self.name = name
        self.module = module
        self.job = job
        self.listener = listener
        self.channel: Channel | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.started = 0.0

    async def start(self, load_first: bool) -> Channel:
        """`load_first`: it takes no request before it holds the models that its siblings or predecessor served."""
        ours, theirs = socket.socketpair()
        inherited = [theirs.fileno()] + ([self.listener.fileno()] if self.listener else [])
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.module,
            *map(str, inherited),
            pass_fds=inherited,
            stdin=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        theirs.close()
        assert self.process.stdin is not None
        job = self.job.model_copy(update={"load_first": load_first})
        self.process.stdin.write(job.model_dump_json().encode())
        self.process.stdin.close()
        self.started = time.monotonic()
        self.channel = await Channel.open(ours)
        return self.channel


def environment() -> dict[str, str]:
    """Ours, in which the project can be imported from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


async def run_module(name: str, argument: str) -> None:
    """A short piece of work in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", name, argument, stdout=asyncio.subprocess.DEVNULL, env=environment()
    )
    await process.wait()


async def stop(children: Sequence[Child], patience: float) -> None:
    """SIGTERM, then SIGKILL for what is still there."""
    running = [
        child.process for child in children if child.process is not None and child.process.returncode is None
    ]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    if running:
        await asyncio.wait([asyncio.create_task(process.wait()) for process in running], timeout=patience)
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()
