"""What happens to runs when processes, machines and servers go: real ones, stopped and killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import deployed
import promotions
import psutil
import pytest
from checkout import BENCH, ROOT
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import AutomationCore

from flows.orchestration import automations
from tasks.promotion.champion import model_lock, promote
from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.signing import private_key
from tasks.system.urls import answers

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""Prefect leaves a connection of a run done in this process to the collector."""
PATIENCE = 280
"""Seconds."""


@pytest.fixture
def registry(
    home: Path, mlflow_server: str, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry]:
    """The session's MLflow server, as this machine sees it; other machines have other homes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    with deployed.talking_to(prefect_server, home):
        yield Registry(load_settings())


class Machine:
    """A process that promotes, on a machine of its own: it shares the two servers, and the team's key."""

    def __init__(self, home: Path, prefect_server: str, *arguments: str) -> None:
        command = [sys.executable, str(BENCH / "promote_in_a_process.py"), *arguments]
        environment = {
            **os.environ,
            "SLIPWAY_HOME": str(home),
            "SLIPWAY_PRIVATE_KEY": str(private_key()),
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
        """Its last line; MLflow prints some of its own before."""
        return self.process.communicate(timeout=PATIENCE)[0].strip().splitlines()[-1]


@pytest.fixture
def machine(tmp_path: Path, prefect_server: str) -> Iterator[Callable[..., Machine]]:
    started: list[Machine] = []

    def start(*arguments: str) -> Machine:
        started.append(Machine(tmp_path / f"machine-{len(started)}", prefect_server, *arguments))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.communicate()


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def serve_first(registry: Registry, model: str, count: int) -> None:
    """`count` versions of a model, the first serving."""
    first = promotions.register_bare(registry, model, count)[0]
    with model_lock(registry.settings, model):
        promote(registry, first, against=None, why="the first")


@pytest.mark.platform
def test_of_two_machines_that_promote_at_once_one_wins_and_the_other_is_told(
    registry: Registry, machine: Callable[..., Machine]
) -> None:
    serve_first(registry, "raced", 3)
    two = [machine("raced", "2", "1"), machine("raced", "3", "1")]
    for promoting in two:
        promoting.ready()
    for promoting in two:
        promoting.go()
    said = sorted((promoting.said() for promoting in two), key=len)
    assert said[0] == "promoted"
    assert "was judged against champion v1, but champion v" in said[1] and "nothing was moved" in said[1]
    ledger = read_ledger(registry, "raced")
    assert [entry.action for entry in ledger.entries] == ["promote", "promote"]
    promotions.check(registry, ledger)


@pytest.mark.platform
def test_machines_that_stood_still_while_another_decided_do_not_promote_when_they_wake(
    registry: Registry, machine: Callable[..., Machine]
) -> None:
    """One is stopped before its decision, the other between that and the move: what is decided then is carried out, by whoever comes next."""
    points = {"claim": ("nothing was moved", 1), "set_alias": ("promoted", 2)}
    sleepers = {}
    for point in points:
        model = f"stopped-{point.replace('_', '-')}"
        serve_first(registry, model, 3)
        sleepers[model] = machine(model, "2", "1", point)
    for sleeper in sleepers.values():
        sleeper.ready()
        sleeper.go()
        wait_until(
            lambda sleeper=sleeper: psutil.Process(sleeper.process.pid).status() == psutil.STATUS_STOPPED,
            "it runs",
        )

    for model, (sentence, serving) in zip(sleepers, points.values(), strict=True):
        third = registry.version(model, 3)
        assert third is not None
        with model_lock(registry.settings, model):
            promote(registry, third, against=serving, why="the sleeper had its chance")
        psutil.Process(sleepers[model].process.pid).send_signal(signal.SIGCONT)
        assert sentence in sleepers[model].said()
        ledger = read_ledger(registry, model)
        assert ledger.serving == 3 and ledger.problems == ()
        champion = registry.by_alias(model, "champion")
        assert champion is not None and champion.version == 3


class Server:
    """A Prefect server that can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.log = folder / "server.log"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        wait_until(self.answers, "the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return answers(f"{self.api}/health")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "prefect"
    folder.mkdir()
    made = Server(folder)
    made.start()
    with deployed.talking_to(made.api, tmp_path):
        yield made
    made.kill()


@pytest.mark.platform
@pytest.mark.timeout(1200)
def test_a_lost_run_is_marked_and_the_next_goes_on_from_its_checkpoint_though_the_server_is_restarted(
    server: Server, home: Path, tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's process is killed and nobody is left to say so, as when a machine goes."""
    from flows.retrain import retrain

    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    hold, reached = tmp_path / "hold", tmp_path / "hold.reached"
    monkeypatch.setenv("HELD_DIGITS", str(hold))
    deployed.deploy(retrain, "any", enforce_parameter_schema=False)
    watch_for_lost_runs(seconds=45)
    asked = {
        "file": str(BENCH / "held_digits.py"),
        "training": {"epochs": 4, "checkpoint_seconds": 0, "patience": None, "threads": 1},
        "recipes": ["fp32"],
        "promote": False,
    }

    hold.write_text("40")  # in the third epoch
    lost = deployed.start("retrain/any", **asked)
    process = deployed.process_of(lost, server.api, home, PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30")
    wait_until(lambda: reached.exists() or process.poll() is not None, "training did not come so far")
    process.kill()
    process.wait()
    [pending] = home.glob("work/held-digits/pending/*.run")
    run_id = pending.read_text()
    wait_until(lambda: name_of_state(lost) == "Crashed", "the run was not marked as crashed")
    assert "Not heard of" in message_of(lost)

    reached.unlink()
    hold.write_text("1")
    following = deployed.start("retrain/any", **asked)
    process = deployed.process_of(following, server.api, home, PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30")
    wait_until(lambda: reached.exists() or process.poll() is not None, "training did not go on")
    server.kill()
    server.start()
    hold.unlink()
    assert process.wait(deployed.PATIENCE * 2) == 0
    assert name_of_state(following) == "Completed", message_of(following)

    registry = Registry(load_settings())
    assert registry.client.get_run(run_id).info.status == "FINISHED"  # the same MLflow run, each epoch once
    epochs = [metric.step for metric in registry.client.get_metric_history(run_id, "validation/score")]
    assert len(epochs) == 4 == len(set(epochs))


def watch_for_lost_runs(seconds: int) -> None:
    """The automation as it ships, but for how long it waits."""
    [shipped] = [a for a in automations.read(automations.FOLDER) if a["name"] == "slipway-lost-runs"]
    assert shipped["trigger"]["within"] <= 105  # with the look every five to ten seconds: under 120
    shipped["trigger"]["within"] = seconds
    with get_client(sync_client=True) as client:
        client.create_automation(AutomationCore.model_validate(shipped))


def name_of_state(run: FlowRun) -> str:
    state = deployed.again(run).state
    return state.name or "" if state is not None else ""


def message_of(run: FlowRun) -> str:
    state = deployed.again(run).state
    return state.message or "" if state is not None else ""
