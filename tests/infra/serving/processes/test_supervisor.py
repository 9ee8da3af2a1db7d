"""The supervisor keeps its processes."""

import asyncio
import errno
import socket
from pathlib import Path

import pytest

from infra.serving.ipc import launch
from infra.serving.ipc.launch import FOLLOWER, Started
from infra.serving.options import ServeOptions, Target
from infra.serving.processes.supervisor import Supervisor


def test_a_process_that_cannot_be_started_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, tries = Target.parse("digits"), []

    async def run() -> None:
        with socket.socket() as listener:
            supervisor = Supervisor((target,), ServeOptions(home=tmp_path), listener, tmp_path, {})

            def start(module: str) -> Started:
                tries.append(module)
                if len(tries) == 2:
                    supervisor.ending.set()
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

            monkeypatch.setattr(launch, "start", start)
            await supervisor.keep(supervisor.follower)

    asyncio.run(run())
    assert tries == [FOLLOWER, FOLLOWER]
