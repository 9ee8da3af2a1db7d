"""On a Ray cluster when configuration says so: candidates, a search over trainings, and one training shared by several processes; nodes are lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from checkout import ROOT, SUPPORT

from flows.orchestration.task_runner import VARIABLE
from tasks.config import Train
from tasks.errors import UserError
from tasks.records import Dataset
from tasks.training.metrics import read_metrics
from tasks.training.trainer import train

WORKLOAD = SUPPORT / "ray_digits.py"
RECIPES = [
    {"name": f"sparse-{share}", "steps": [{"kind": "prune", "method": "unstructured", "ratio": share / 100}]}
    for share in (30, 50)
]
_SECONDS = 600


@pytest.mark.slow
def test_several_workers_without_a_cluster_are_refused_in_a_sentence(
    linear_digits: tuple[Dataset, Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=r"train\.workers=2 needs a Ray cluster: set SLIPWAY_TASK_RUNNER=ray"):
        train("digits", linear_digits[0], Train(workers=2), tmp_path)


class Trained(NamedTuple):
    """What one process of the cluster left: its rank, its node, and how many steps it took."""

    rank: str
    node: str
    steps: int


class TwoNodes:
    """A Ray cluster whose head computes nothing, and two nodes that do; `folder` has what its processes note."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.hold = folder / "hold"
        small = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 10**8}
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        self._nodes = [self._cluster.add_node(num_cpus=2, **small) for _ in range(2)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def trained(self, held: bool = False) -> list[Trained]:
        """The processes that trained, or only those that stand still."""
        trained = []
        for path in self.folder.glob("*.*.*[0-9]"):
            rank, node, _ = path.name.split(".")
            if not held or path.with_name(f"{path.name}.held").exists():
                trained.append(Trained(rank, node, path.stat().st_size))
        return trained

    def lose(self, node_id: str) -> None:
        """A node's processes, killed at once; what was held goes on elsewhere."""
        [node] = [node for node in self._nodes if node.node_id == node_id]
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)
        for path in self.folder.glob(f"*.{node_id}.*[0-9]"):  # which end a while after their node does
            with suppress(ProcessLookupError):
                os.kill(int(path.suffix[1:]), signal.SIGKILL)
        self.hold.unlink()

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    pytest.importorskip("ray")
    folder = tmp_path / "noted"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("SLIPWAY_TEST_HOLD", str(folder / "hold"))
    nodes = TwoNodes(folder)
    monkeypatch.delenv("SLIPWAY_TEST_HOLD")
    yield nodes
    nodes.stop()


class Run:
    """`slipway run` on the cluster, in a process of its own."""

    def __init__(self, home: Path, cluster: TwoNodes, prefect: str, *settings: str) -> None:
        environment = {
            **os.environ,
            "SLIPWAY_HOME": str(home),
            "PREFECT_API_URL": prefect,
            VARIABLE: cluster.address,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes 127.0.0.1 for the machine's outer address
        }
        command = [sys.executable, "-m", "flows.cli", "run", str(WORKLOAD), "--json"]
        command += [word for setting in settings for word in ("--set", setting)]
        self.home = home
        self._log = home.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log
            )

    def until(self, true: Callable[[], Any]) -> Any:
        end = time.monotonic() + _SECONDS
        while not (value := true()):
            assert self._process.poll() is None and time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.1)
        return value

    def outcome(self) -> Any:
        output = self._process.communicate(timeout=_SECONDS)[0]
        assert self._process.returncode == 0, f"{output.decode()[:3000]}\n{self._log.read_text()[-3000:]}"
        return json.loads(output)

    def failure(self) -> str:
        """The reason that a run which failed gives."""
        output = self._process.communicate(timeout=_SECONDS)[0]
        assert self._process.returncode == 1, self._log.read_text()[-3000:]
        return str(json.loads(output)["reasons"][0])

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def run(
    tmp_path: Path, cluster: TwoNodes, prefect_server: str, empty_mlflow_database: Path
) -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def start(*settings: str) -> Run:
        home = tmp_path / f"home-{len(started)}"
        home.mkdir(mode=0o700)
        (home / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
        started.append(Run(home, cluster, prefect_server, *settings))
        return started[-1]

    yield start
    for begun in started:
        begun.end()


@pytest.mark.platform
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_candidates_are_made_on_two_nodes_and_one_of_them_is_lost(
    cluster: TwoNodes, run: Callable[..., Run]
) -> None:
    cluster.hold.touch()
    begun = run(f"recipes={json.dumps(RECIPES)}")
    lost = begun.until(lambda: cluster.trained(held=True))[0].node
    cluster.lose(lost)
    outcome = begun.outcome()

    assert outcome["decision"] == "promoted", outcome
    made = {candidate["name"]: candidate for candidate in outcome["candidates"]}
    assert set(made) == {"fp32", "sparse-30", "sparse-50"}
    assert all(candidate["score"] is not None for candidate in made.values()), made
    others = {process.node for process in cluster.trained()} - {lost}
    assert len(others) == 1


@pytest.mark.platform
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_training_shared_by_two_nodes_goes_on_to_the_bit_when_one_is_lost(
    cluster: TwoNodes, run: Callable[..., Run]
) -> None:
    cluster.hold.touch()
    disturbed = run("recipes=[]", "train.workers=2")
    held = disturbed.until(lambda: len(both := cluster.trained(held=True)) == 2 and both)
    where = {process.rank: process.node for process in held}
    assert set(where) == {"0", "1"} and len(set(where.values())) == 2
    cluster.lose(where["0"])
    assert disturbed.outcome()["decision"] == "promoted"

    [log] = disturbed.home.glob("work/ray-digits/training/**/metrics.jsonl")
    steps = {metric.step for metric in read_metrics(log)}
    taken = {process.node: process.steps for process in cluster.trained() if process.rank == "0"}
    assert set(taken) == set(where.values())
    assert taken[where["1"]] < max(steps) <= sum(taken.values())

    whole = run("recipes=[]", "train.workers=2")
    assert whole.outcome()["decision"] == "promoted"
    assert weights(whole) == weights(disturbed)

    diverging = ("optimizer=momentum", "lr=10", "weight_decay=1", "schedule=constant", "clip_norm=null")
    failed = run("recipes=[]", "train.workers=2", *(f"train.{knob}" for knob in diverging)).failure()
    assert failed.startswith("The loss is ") and "lower train.lr=10" in failed, failed


@pytest.mark.platform
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_over_trainings_is_tried_on_both_nodes_and_its_best_ships(
    cluster: TwoNodes, run: Callable[..., Run]
) -> None:
    space = {"train.lr": [0.001, 0.01, "log"], "train.batch_size": [32, 64]}
    begun = run("recipes=[]", "train.epochs=2", f"search.space={json.dumps(space)}", "search.trainings=4")
    outcome = begun.outcome()

    assert outcome["decision"] == "promoted", outcome
    evidence = json.loads((begun.home / "work/ray-digits/package/evidence.json").read_text())
    searched = evidence["searched"]
    tried = {training["name"]: training for training in searched["trainings"]}
    assert len(tried) == 4 and {training["state"] for training in tried.values()} == {"finished"}
    best = tried[searched["chosen"]]
    assert best["score"] == max(training["score"] for training in tried.values())
    knobs = ", ".join(f"{name}={value}" for name, value in best["knobs"].items())
    assert f"is the best of 4 trainings by validation rows: {knobs}" in outcome["reasons"]

    assert len({process.node for process in cluster.trained()}) == 2
    batches = [training["knobs"]["train.batch_size"] for training in tried.values()]
    steps = sum(2 * -(-evidence["rows"]["train"] // size) for size in batches)
    assert sum(process.steps for process in cluster.trained()) == steps, "each is trained once, on a node"


def weights(run: Run) -> bytes:
    """The best weights' digest."""
    [path] = run.home.glob("work/ray-digits/training/**/best.pt.sha256")
    return path.read_bytes()
