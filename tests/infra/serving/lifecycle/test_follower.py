"""The follower on a machine with trouble; with a registry it is tested in processes/test_follower.py."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from serving_messages import release, swap

from infra.serving.ipc.channel import Channel
from infra.serving.lifecycle.follower import Follower
from infra.serving.lifecycle.registry import Pointer, Unfetched
from infra.serving.options import ProcessJob, ServeOptions, Target


def test_a_full_disk_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)

    async def run() -> str:
        ours, theirs = socket.socketpair()
        target = Target.parse("digits")
        job = ProcessJob(targets=(target,), options=ServeOptions(home=tmp_path), run_folder=tmp_path)
        follower = Follower(job, await Channel.open(theirs))
        pointer, cache = Pointer(version="1", created=1), follower.preparer.cache
        follower.followed[0].offer(pointer, release("1"))
        with ours:
            cache.root.rmdir()
            cache.root.touch()  # every file in it fails, as on a full disk
            follower.receive(swap("1"))
            cache.mark(cache.root / "any")
            registry: Any = None
            with pytest.raises(Unfetched) as unfetched:
                await follower.preparer.from_registry(registry, target, pointer)
            follower.channel.close()
        return str(unfetched.value)

    assert "cannot be written" in asyncio.run(run())
    assert "what serves cannot be remembered" in caplog.text
