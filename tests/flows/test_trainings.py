"""A search over trainings, whole: killed by SIGKILL it ends as if nothing had been; with a larger budget it goes on; what it chose ships."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign_kills import Drill, drilled
from checkout import SUPPORT
from faulty_disk import Fault

from flows import trainings
from flows.pipeline.context import RunContext
from flows.pipeline.runner import StepRunner
from tasks.config import Data
from tasks.data.dataset import prepare
from tasks.records import Material
from tasks.settings import Settings
from tasks.workloads.catalogue import load_workload

DOTS = str(SUPPORT / "searched_dots.py")
COUNT = 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("cc") is None, reason="no C compiler, or no Linux"
    ),
]


@pytest.fixture(scope="module")
def drill(
    prefect_server: str, empty_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Drill]:
    given = {"reference": DOTS, "first": None, "then": (f"search.trainings={COUNT}",)}
    folder = tmp_path_factory.mktemp("drill")
    with drilled(folder, prefect_server, empty_mlflow_database, **given) as drill:  # type: ignore[arg-type]
        yield drill


def test_a_search_with_weights_of_another_file_is_another_search(tmp_path: Path) -> None:
    """Else what the weights before came to would be in the runs of those that came now."""
    dataset, config = prepare(DOTS, Data(), tmp_path), load_workload(DOTS).defaults()

    def identity(*digests: str) -> str:
        materials = tuple(Material(name="base.pt", sha256=digest) for digest in digests)
        settings = Settings(home=tmp_path, tracking_uri="")
        context = RunContext(workload=DOTS, model="dots", settings=settings, materials=materials)
        return trainings._identity(StepRunner(context), dataset, config)

    assert identity("a") == identity("a")
    assert len({identity(), identity("a"), identity("b")}) == 3


def evidence(drill: Drill) -> dict[str, Any]:
    path = drill.retrainings.home / "work" / "dots" / "package" / "evidence.json"
    read: dict[str, Any] = json.loads(path.read_bytes())
    return read


def tried_in(drill: Drill) -> list[dict[str, Any]]:
    """What was tried, by the evidence's account, without what another attempt has otherwise."""
    varies = ("run_id", "cpu_seconds", "wall_seconds", "began")
    tried = evidence(drill)["searched"]["trainings"]
    return [{name: value for name, value in each.items() if name not in varies} for each in tried]


def test_a_search_killed_in_the_midst_ends_the_same_and_goes_on_when_it_may(drill: Drill) -> None:
    """No training lost, none counted twice, the same choice to the bit; then two more of the same search."""
    undisturbed, choice = tried_in(drill), evidence(drill)["searched"]["chosen"]
    assert [each["name"] for each in undisturbed] == [f"{number:03d}" for number in range(COUNT)]
    assert drill.whole.outcome is not None
    assert any(
        reason.startswith(f"is the best of {COUNT} trainings by validation rows")
        for reason in drill.whole.outcome["reasons"]
    )
    drill.begin()
    for fault in (
        Fault("tear", 3, like="write /work/dots/training/"),  # in the midst of a training
        Fault("kill", 1, like="create /results/try-training-"),  # its MLflow run ended, its result not kept
        Fault("tear", 90, like="write /mlflow.db"),
        Fault("kill", 0, like="create /results/train-"),  # it is chosen, and nothing of that kept
    ):
        assert drill.run(fault).killed, fault
    drill.check_next("four kills")  # the same runs and their ends, one of each training; the same version
    assert tried_in(drill) == undisturbed and evidence(drill)["searched"]["chosen"] == choice

    again = drill.run()
    assert again.outcome is not None and again.outcome["decision"] == "unchanged"

    more = drill.retrainings.run(f"search.trainings={COUNT + 2}", reference=DOTS)
    assert more.outcome is not None and more.outcome["version"] == 2, more
    assert tried_in(drill)[:COUNT] == undisturbed and len(tried_in(drill)) == COUNT + 2
    ran = [step["name"] for step in evidence(drill)["times"] if not step["cached"]]
    assert [name for name in ran if name.startswith("try-training")] == [
        f"try-training {number:03d}" for number in (COUNT, COUNT + 1)
    ]
    check_mlflow(drill, more.outcome["run_id"])
    page = (drill.retrainings.home / "work" / "dots" / "report.html").read_text()
    assert f"{COUNT + 2} trainings, judged by the" in page and "best so far" in page


def check_mlflow(drill: Drill, run_id: str) -> None:
    """Every training is a run below the one that chose, with what it set and a curve by epochs; the parent has what was chosen."""
    from tasks.registry.registry import Registry
    from tasks.settings import Settings

    home = drill.retrainings.home
    client = Registry(Settings(home=home, tracking_uri=f"sqlite:///{home / 'mlflow.db'}")).client
    parent = client.get_run(run_id)
    query = f"tags.`mlflow.parentRunId` = '{run_id}'"
    children = {run.info.run_id: run for run in client.search_runs([parent.info.experiment_id], query)}
    searched = evidence(drill)["searched"]
    assert sorted(children) == sorted(each["run_id"] for each in searched["trainings"])
    for tried in searched["trainings"]:
        child = children[tried["run_id"]]
        assert child.data.params == {name: str(value) for name, value in tried["knobs"].items()}
        curve = {m.step: m.value for m in client.get_metric_history(child.info.run_id, "search/score")}
        assert [*curve.values()] == tried["scores"] and [*curve] == [*range(1, len(curve) + 1)]
        live = client.get_metric_history(child.info.run_id, "validation/score")
        assert sorted((m.step, m.value) for m in live) == sorted({(m.step, m.value) for m in live})
    choice = next(each for each in searched["trainings"] if each["name"] == searched["chosen"])
    assert {name: parent.data.params[name] for name in choice["knobs"]} == {
        name: str(value) for name, value in choice["knobs"].items()
    }
    assert parent.data.params["search.space.train.lr.2"] == "log"
