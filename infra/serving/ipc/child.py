"""A process of the server: how it is given its work, spoken to and ended."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from infra.serving.ipc import launch
from infra.serving.ipc.channel import Channel
from infra.serving.ipc.launch import Started
from infra.serving.options import ProcessJob
from tasks.system.processes import end_all

PAUSE = 0.01


@dataclass(eq=False)
class Child:
    """A process with a line to it; it gets its job on standard input and the listening socket over the line."""

    name: str
    module: str
    job: ProcessJob
    listener: socket.socket | None
    ahead: Started | None
    channel: Channel | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    silence: int | None = None
    """Looks at it since it last said anything; None for one that has never said that it is alive."""

    async def start(self, load_first: bool) -> Channel:
        """`load_first`: it takes no request before it holds the models that its siblings or predecessor served."""
        self.process, line = self.ahead or launch.start(self.module)
        self.ahead = None
        job = self.job.model_copy(update={"load_first": load_first})
        with contextlib.suppress(BrokenPipeError):  # whoever waits for it finds out that it is gone
            if self.listener is not None:
                socket.send_fds(line, [b"listener"], [self.listener.fileno()])
            assert self.process.stdin is not None
            self.process.stdin.write(job.model_dump_json().encode())
            self.process.stdin.close()
        self.started, self.silence = time.monotonic(), None
        self.channel = await Channel.open(line)
        return self.channel

    async def ended(self) -> int:
        """Its exit code, once it is gone."""
        assert self.process is not None
        while (code := self.process.poll()) is None:
            await asyncio.sleep(PAUSE)
        return code

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def terminate(self) -> None:
        if self.process is not None:
            self.process.terminate()


async def stop(children: Sequence[Child], patience: float) -> None:
    """SIGTERM, then SIGKILL for what is still there; beside what the loop has to do meanwhile."""
    processes = [child.process for child in children if child.process is not None]
    await asyncio.to_thread(end_all, processes, patience)
