"""The supervisor keeps its processes."""

import asyncio
import errno
import http.client
import json
import logging
import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serving_models as models
from registered import BODY, ROW, Registered
from serving_process import PATIENCE, wait_for

from infra.serving.ipc import launch
from infra.serving.ipc.launch import FOLLOWER, Started
from infra.serving.ipc.messages import Beat
from infra.serving.options import ServeOptions, Target
from infra.serving.processes import supervisor as supervisor_module
from infra.serving.processes.main import bind
from infra.serving.processes.supervisor import Supervisor


@pytest.mark.slow
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


class Silent:
    """A process that was started and can be heard; what is done to it."""

    def __init__(self, name: str, silence: int | None) -> None:
        self.name = name
        self.silence = silence
        self.done: list[str] = []
        self.channel = None

    def terminate(self) -> None:
        self.done.append("terminate")

    def kill(self) -> None:
        self.done.append("kill")


def supervised(tmp_path: Path, *children: Silent) -> Supervisor:
    options = ServeOptions(home=tmp_path, drain=0, workers=1)
    made = Supervisor((Target.parse("digits"),), options, socket.socket(), tmp_path, {})
    made.listener.close()
    made.workers = list(children)  # type: ignore[arg-type]
    return made


def test_a_process_that_says_nothing_for_long_is_ended_and_then_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "LOOK", 0.005)
    monkeypatch.setattr(supervisor_module, "SILENT_LOOKS", 5)
    monkeypatch.setattr(Supervisor, "_patience", lambda supervisor, child: 0.05)
    hung, well, starting = Silent("hung", 0), Silent("well", 0), Silent("starting", None)
    follower = Silent("follower", 0)

    async def run() -> None:
        supervisor = supervised(tmp_path, hung, well, starting)
        supervisor.follower = follower  # type: ignore[assignment]
        looking = asyncio.create_task(supervisor.look())
        while "kill" not in hung.done or "kill" not in follower.done:
            supervisor._receive(well, Beat())  # type: ignore[arg-type]
            await asyncio.sleep(0.001)
        supervisor.ending.set()
        await looking

    asyncio.run(run())
    assert hung.done == follower.done == ["terminate", "kill"] and well.done == starting.done == []
    assert hung.silence is None and starting.silence is None


@pytest.mark.slow
def test_a_follower_that_stands_still_is_replaced_and_the_server_answers_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "LOOK", 0.1)
    monkeypatch.setattr(supervisor_module, "SILENT_LOOKS", 30)
    monkeypatch.setattr(Supervisor, "_patience", lambda supervisor, child: 0.5)
    folder = models.save(tmp_path / "digits", models.mlp(), {"x": ROW.tolist()})

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)

    async def run() -> tuple[int, int, int]:
        options = ServeOptions(home=tmp_path, host="127.0.0.1", port=0, drain=0)
        listener = bind(options)
        supervisor = Supervisor((Target.parse(f"digits={folder}"),), options, listener, tmp_path, {})
        running, follower = asyncio.create_task(supervisor.run()), supervisor.follower
        await until(lambda: supervisor.announced and follower.silence is not None)
        assert follower.process is not None
        before = follower.process.pid
        os.kill(before, signal.SIGSTOP)
        await until(lambda: follower.process.pid != before and follower.silence is not None)
        url = f"{supervisor.url}/invocations"
        status, after = await asyncio.to_thread(answered, url), follower.process.pid
        supervisor._end(signal.SIGTERM)
        await running
        for child in (supervisor.workers[0], follower):
            assert child.channel is not None
            child.channel.close()
        await asyncio.sleep(0)
        return status, before, after

    status, before, after = asyncio.run(run())
    assert status == 200 and before != after


def answered(url: str) -> int:
    request = urllib.request.Request(url, json.dumps(BODY).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return int(answer.status)


def test_a_process_that_says_what_nobody_understands_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    starts: list[Silent] = []

    class Line:
        async def messages(self) -> Any:
            raise ValueError("no such message")
            yield

        def close(self) -> None: ...

    class Heard(Silent):
        started = 0.0
        ending: asyncio.Event

        async def start(self, load_first: bool) -> Line:
            starts.append(self)
            return Line()

        async def ended(self) -> int:
            if len(starts) == 2:
                self.ending.set()
            return 9

    async def run() -> None:
        supervisor, child = supervised(tmp_path), Heard("worker 0", None)
        child.ending = supervisor.ending
        await supervisor.keep(child)  # type: ignore[arg-type]

    asyncio.run(run())
    assert len(starts) == 2 and starts[0].done == ["kill", "kill"]
    assert "worker 0 said what cannot be taken in" in caplog.text


LACKING = """
import errno, os, pathlib, sys

read = pathlib.Path.read_bytes


def read_bytes(path):
    if path.name == "model.onnx" and "infra.serving.processes.worker" in sys.orig_argv:
        for trouble in sorted(pathlib.Path(os.environ["TROUBLES"]).glob("*")):
            try:
                trouble.unlink()
            except FileNotFoundError:
                continue  # the other worker had it
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
    return read(path)


pathlib.Path.read_bytes = read_bytes
"""
"""The first that reads a model has no memory for it, as often as there are files in a folder."""


@pytest.mark.slow
@pytest.mark.parametrize("troubles", [1, 3])
def test_workers_that_could_not_load_a_version_come_to_serve_what_their_siblings_do(
    mlflow_server: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, troubles: int
) -> None:
    registered = Registered(mlflow_server, tmp_path / "models")
    (tmp_path / "ahead").mkdir()
    (tmp_path / "ahead" / "sitecustomize.py").write_text(LACKING)
    (tmp_path / "troubles").mkdir()
    monkeypatch.setenv("TROUBLES", str(tmp_path / "troubles"))
    registered.add(models.mlp(seed=1), "champion")
    second = registered.add(models.mlp(seed=2))
    with registered.serve(home, workers=2, ahead=tmp_path / "ahead") as server:
        for number in range(troubles):
            (tmp_path / "troubles" / str(number)).touch()
        registered.move(second)

        def all_serve(version: str) -> bool:
            """Connections go to either worker."""
            answers = []
            for _ in range(20):
                connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
                connection.request(
                    "POST", "/invocations", json.dumps(BODY), {"Content-Type": "application/json"}
                )
                answers.append(connection.getresponse().headers["X-Model-Version"])
                connection.close()
            return set(answers) == {version}

        wait_for(lambda: all_serve(second))
        assert not list((tmp_path / "troubles").iterdir())
