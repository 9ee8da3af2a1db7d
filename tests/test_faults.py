"""What happens to runs when processes, machines and servers go: real ones, stopped and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import promotions
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.ledger import read_ledger
from tasks.promotion import model_lock, promote
from tasks.registry import Registry
from tasks.settings import Settings, load_settings

ROOT = Path(__file__).parent.parent
PATIENCE = 240
"""Seconds. A lease of Prefect's is at least 60 s long, and is looked after every 15 s."""


@pytest.fixture
def registry(
    home: Path, mlflow_server: str, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry]:
    """The session's MLflow server, as this machine sees it; other machines have other homes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield Registry(load_settings())


class Machine:
    """A process that promotes, on a machine of its own: with it, it shares nothing but the two servers."""

    def __init__(self, home: Path, prefect_server: str, *arguments: str) -> None:
        command = [sys.executable, str(ROOT / "tests" / "bench" / "promote_in_a_process.py"), *arguments]
        environment = {
            **os.environ,
            "SLIPWAY_HOME": str(home),
            "PREFECT_API_URL": prefect_server,
            "PYTHONPATH": str(ROOT),
        }
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> str:
        return self.process.communicate(timeout=PATIENCE)[0].strip()


@pytest.fixture
def machine(tmp_path: Path, prefect_server: str) -> Iterator[Callable[..., Machine]]:
    started: list[Machine] = []

    def start(*arguments: str) -> Machine:
        started.append(Machine(tmp_path / f"machine-{len(started)}", prefect_server, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def serve_first(registry: Registry, model: str, count: int) -> Settings:
    """`count` versions of a model, the first serving."""
    first = promotions.register_bare(registry, model, count)[0]
    with model_lock(registry.settings, model):
        promote(registry, first, against=None, why="the first")
    return registry.settings


@pytest.mark.slow
def test_of_two_machines_that_promote_at_once_one_wins_and_the_other_is_told(
    registry: Registry, machine: Callable[..., Machine]
) -> None:
    serve_first(registry, "raced", 3)
    two = [machine("raced", "2", "1"), machine("raced", "3", "1")]
    for one in two:
        one.ready()
    for one in two:
        one.go()
    said = sorted((one.said() for one in two), key=len)
    assert said[0] == "promoted"
    assert "was judged against champion v1, but champion v" in said[1] and "nothing was moved" in said[1]
    ledger = read_ledger(registry, "raced")
    assert [entry.action for entry in ledger.entries] == ["promote", "promote"]
    promotions.check(registry, ledger)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("where", "sentence"),
    [("tag_model", "nothing was moved"), ("set_alias", "the champion is champion v3 again")],
)
def test_a_machine_that_stood_still_past_its_lease_does_not_promote_when_it_wakes(
    registry: Registry, machine: Callable[..., Machine], where: str, sentence: str
) -> None:
    from flows.guard import one_at_a_time

    model = f"stopped-{where.replace('_', '-')}"
    settings = serve_first(registry, model, 3)
    sleeper = machine(model, "2", "1", where)
    sleeper.ready()
    sleeper.go()
    process = psutil.Process(sleeper.process.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it did not stop")

    third = registry.version(model, 3)
    assert third is not None
    with one_at_a_time(model), model_lock(settings, model):  # waits for the lease to run out
        promote(registry, third, against=1, why="the sleeper had its chance")
    process.send_signal(signal.SIGCONT)
    assert sentence in sleeper.said()
    ledger = read_ledger(registry, model)
    assert ledger.serving == 3 and ledger.problems == ()
    champion = registry.by_alias(model, "champion")
    assert champion is not None and champion.version == 3
