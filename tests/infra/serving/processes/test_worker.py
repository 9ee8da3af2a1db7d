"""The worker's server knows all that it leans on in uvicorn's, and gives way to it where a uvicorn has that otherwise."""

import ast
import asyncio
import inspect
import json
import logging
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from uvicorn import config, server

from infra.serving.http.fast_path_check import first, lacks
from infra.serving.ipc.messages import Message
from infra.serving.options import ProcessJob, ServeOptions, Target
from infra.serving.processes import worker as worker_module
from infra.serving.processes.worker import ATTRIBUTES, METHODS, Server, Worker, server_for

OVERRIDDEN = {signature.partition("(")[0] for signature in METHODS}
READ = {name for names in ATTRIBUTES.values() for name in names}


def uvicorn_with(name: str, replacement: str) -> ModuleType:
    """uvicorn's server as another release might have it."""
    copies = {}
    for module in (config, server):
        copies[module] = ModuleType(module.__name__)
        text = re.sub(rf"(self\.|def ){name}\b", rf"\1{replacement}", inspect.getsource(module))
        exec(text, copies[module].__dict__)
    vars(copies[server]).update(Config=copies[config].Config)
    return copies[server]


def misfit(module: ModuleType) -> str | None:
    return first(lacks(module, "Server", METHODS, ATTRIBUTES))


def test_the_installed_uvicorn_fits() -> None:
    assert misfit(server) is None


@pytest.mark.parametrize("name", sorted(OVERRIDDEN | READ))
def test_a_uvicorn_that_names_anything_otherwise_does_not_fit(name: str) -> None:
    assert name in str(misfit(uvicorn_with(name, f"{name}_now")))


def test_the_list_holds_all_that_the_server_reads_of_uvicorn_and_no_more() -> None:
    tree = ast.parse(inspect.getsource(Server))
    dotted = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    read = {text.split(".")[1] for text in dotted if text.startswith("self.")}
    read |= set(re.findall(r"setattr\(self, '(\w+)'", ast.unparse(tree))) | {
        "connections",
        "http_protocol_class",
    }
    assert read - {"worker", "_protocol"} == READ
    functions = {name for name, value in vars(Server).items() if inspect.isfunction(value)} - {"__init__"}
    assert {name for name in functions if hasattr(server.Server, name)} == OVERRIDDEN


def test_on_another_uvicorn_its_own_server_serves_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    worker: Any = None
    other = uvicorn_with("handle_exit", "on_signal")
    assert type(server_for(worker, config.Config(""))) is Server and not caplog.records
    assert type(server_for(worker, config.Config(""), other)) is server.Server
    assert "handle_exit" in caplog.text


class Line:
    """A line to the supervisor: what is said on it, and nothing that is heard."""

    def __init__(self) -> None:
        self.said: list[Message] = []

    def send(self, message: Message) -> None:
        self.said.append(message)

    async def messages(self) -> Any:
        await asyncio.Event().wait()
        yield


def worker_of(tmp_path: Path) -> Worker:
    job = ProcessJob(
        targets=(Target.parse("digits"),), options=ServeOptions(home=tmp_path), run_folder=tmp_path
    )
    return Worker(job, Line())  # type: ignore[arg-type]


async def beats(worker: Worker) -> int:
    """How often it says that all is well, in some turns."""
    before = len(worker.channel.said)  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    return len(worker.channel.said) - before  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["listen", "tick", "warm up"])
def test_a_task_in_the_background_that_fails_is_noticed_and_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    monkeypatch.setattr(worker_module, "BEAT_SECONDS", 0.002)

    async def run() -> None:
        worker = worker_of(tmp_path)

        async def fails() -> None:
            raise LookupError("not meant to happen")

        monkeypatch.setattr(worker, name.replace(" ", "_"), fails)
        tasks = worker.start()
        await asyncio.sleep(0.01)
        assert await beats(worker) == 0
        answer = json.loads((await worker.routes.answer("/ready", {}, b""))[2])
        assert answer["troubles"] == {name: "it failed (LookupError)"} and not worker.service.ready
        for task in tasks:
            task.cancel()

    asyncio.run(run())
    assert f"the worker's task {name!r} failed" in caplog.text


def test_a_worker_says_that_all_is_well_until_a_batch_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    monkeypatch.setattr(worker_module, "BEAT_SECONDS", 0.002)

    async def run() -> None:
        worker = worker_of(tmp_path)
        tasks = worker.start()
        assert await beats(worker) > 3
        worker.service.slots["digits"].batcher.overdue = 0.0
        await asyncio.sleep(0.01)
        assert await beats(worker) == 0
        assert worker.service.troubles() == {"digits": "a batch does not end"}
        for task in tasks:
            task.cancel()

    asyncio.run(run())
    assert caplog.text.count("a batch does not end") == 1


def test_the_numbers_of_a_worker_that_is_replaced_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "BEAT_SECONDS", 0.002)

    async def run() -> None:
        worker = worker_of(tmp_path)
        worker.metrics.file = tmp_path / "numbers-0-1.json"
        worker.service.count(404)
        worker.up.set()
        task = asyncio.create_task(worker.tick())
        while not worker.metrics.file.exists():
            await asyncio.sleep(0.001)
        task.cancel()
        successor = worker_of(tmp_path)
        successor.service.count(404)
        assert successor.metrics.answers() == {"404": 2}

    asyncio.run(run())
