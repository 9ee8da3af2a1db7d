"""The pipeline as Prefect runs it: real servers, real steps, the digits made small."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from page_of_folder import refused_by

from flows.pipeline.runner import TAG
from tasks.engines import Engine
from tasks.errors import StepError, UserError
from tasks.outcome import Outcome
from tasks.promotion.attesting import attest
from tasks.promotion.verification import verify
from tasks.registry.registry import Registry
from tasks.registry.status_tags import all_statuses
from tasks.registry.tags import DECISION_TAG
from tasks.settings import load_settings

QUICK = ("train.epochs=2", "recipes=[]", "engines=[onnxruntime]", "train.threads=1")
WORKLOAD = """
from dataclasses import replace
import numpy as np
import torch
from tasks.workloads.examples.digits import load_frame, to_inputs, workload as digits
"""


@pytest.fixture
def prefect_api(
    prefect_server: str, home: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """This process's Prefect talks to the session's server, and a fresh registry is at hand."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)  # how fast it is decides nothing here
    home.mkdir(mode=0o700)
    (home / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_LOCAL_STORAGE_PATH: home / "results"}):
        yield


def retrain(
    reference: str, *settings: str, force: bool = False, promote: bool = True, reason: str = ""
) -> Outcome:
    from prefect import tags

    from flows.cli.overrides import override
    from flows.orchestration.form import filled_in
    from flows.retrain import retrain as flow
    from tasks.workloads.catalogue import load_workload

    workload = load_workload(reference)
    config = load_settings().apply_policy(workload.name, override(workload.defaults(), settings))
    with tags(TAG):  # as `slipway run` does
        outcome = flow(reference, **filled_in(config), force=force, promote=promote, reason=reason)
    assert isinstance(outcome, Outcome)
    return outcome


def tagged() -> tuple[list[str], list[str]]:
    """What Prefect's server has by our automations' tag: runs, and steps of them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags={"all_": [TAG]}))
        steps = client.read_task_runs(task_run_filter=TaskRunFilter(tags={"all_": [TAG]}))
    return [run.name for run in runs], [step.name for step in steps]


def reasons(home: Path, step: str) -> str:
    """Why the step ran last, by the evidence's own account."""
    evidence = json.loads((home / "work" / "digits" / "package" / "evidence.json").read_text())
    return next(time["reason"] for time in evidence["times"] if time["name"] == step)


@pytest.mark.slow
def test_a_model_is_promoted_and_the_next_run_has_nothing_to_do(prefect_api: None, home: Path) -> None:
    first = retrain("digits", *QUICK, "train.epochs=6")
    assert first.decision == "promoted" and first.version == 1 and first.picked == "fp32"
    assert first.score is not None and first.score > 0.8
    registry = Registry(load_settings())
    champion = registry.by_alias("digits", "champion")
    assert champion is not None and champion.version == 1 and champion.sha256 == first.digest

    stated = verify(registry.settings, "digits").statements
    assert stated == ("prepare", "train", "export", "tests", "decide")
    attested = attest(registry.settings, "digits", home / "attested")
    assert attested.permitted and attested.missing == ()
    page = (home / "attested" / "README.md").read_text()
    assert refused_by(page, home / "attested", attested.key_sha256) is None
    logged = (file.path for file in registry.client.list_artifacts(first.run_id))
    assert "attestations.jsonl" in logged

    again = retrain("digits", *QUICK, "train.epochs=6")
    assert again.decision == "unchanged" and again.version == 1 and "is the champion" in again.reasons[0]
    runs, steps = tagged()
    assert runs and steps == [], "Prefect would ask before each step whether there is room for it"

    most = {"name": "pruned-90", "steps": [{"kind": "prune", "ratio": 0.9, "epochs": 1, "milder": 1}]}
    more = ("train.lr=0.0021", "search.trials=1", f"recipes={json.dumps([most])}")
    third = retrain("digits", *QUICK, "train.epochs=6", *more, promote=False)
    assert third.decision == "registered" and third.version == 2
    *made, searched = [candidate.name for candidate in third.candidates]
    assert made == ["fp32", "pruned-90", "pruned-63"] and searched.startswith("search-")
    assert reasons(home, "prepare") == "every time" and reasons(home, "train") == "config.lr 0.002 → 0.0021"
    assert registry.by_alias("digits", "champion") == champion

    run = registry.client.get_run(first.run_id)
    epochs = [m.step for m in registry.client.get_metric_history(first.run_id, "validation/score")]
    assert run.info.status == "FINISHED" and len(epochs) == 6 == len(set(epochs))
    assert run.data.params["train.epochs"] == "6" and run.data.metrics["score"] == first.score
    assert [run.data.tags[f"slipway.{name}"] for name in ("verdict", "decision", "picked")] == [
        "pass", "promoted", "fp32",
    ]  # fmt: skip
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {
        f"digits-{s}" for s in ("train", "validation", "test")
    }


@pytest.mark.slow
def test_a_model_that_is_not_good_enough_is_refused_and_kept_from_serving(
    prefect_api: None, caplog: pytest.LogCaptureFixture
) -> None:
    why = "the score is surely below the proof by more than 0.01 since 2026-11-20"
    with caplog.at_level("INFO", "slipway"):
        outcome = retrain("digits", *QUICK, "train.epochs=1", reason=why)
    said = [record.message for record in caplog.records if record.name == "slipway"]
    assert said[0] == f"is run because {why}"
    run = Registry(load_settings()).client.get_run(outcome.run_id)
    assert run.data.tags["slipway.reason"] == why
    assert outcome.decision == "refused" and "below the minimum of 0.96" in outcome.reasons[0]
    registry = Registry(load_settings())
    assert (
        registry.by_alias("digits", "champion") is None and registry.by_alias("digits", "challenger") is None
    )
    version = registry.version("digits", outcome.version or 0)
    assert version is not None and registry.tags(version)[DECISION_TAG] == "refused"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("workload = replace(digits, load=lambda: load_frame().head(0))", UserError, "gave no rows"),
        (
            "workload = replace(digits, load=lambda: load_frame() + 30)",
            UserError,
            "break its schema: .*in_range",
        ),
        (
            "workload = replace(digits, load=lambda: load_frame().assign(label=3))",
            UserError,
            "needs two classes",
        ),
        (
            "workload = replace(digits, inputs=lambda rows: {'picture': to_inputs(rows)['image']})",
            UserError,
            r"inputs\(\) gives picture, but the model's forward takes image",
        ),
        (
            "workload = replace(digits, inputs=lambda rows: {'image': to_inputs(rows)['image'][1:]})",
            UserError,
            "rows where the frame has",
        ),
        (
            "class Net(torch.nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n        self.inner = torch.nn.Linear(64, 10)\n"
            "    def forward(self, image):\n"
            "        order = sorted(range(len(image)), key=lambda row: float(image[row].sum()))\n"
            "        return self.inner(image.flatten(1))[order]\n"
            "workload = replace(digits, model=Net)",
            StepError,
            "decides by the data at mine.py:11 .*use torch.where, or torch.cond",
        ),
    ],
    ids=["empty frame", "schema", "one class", "other names", "other length", "no export"],
)
def test_bad_input_ends_in_one_sentence_and_registers_nothing_but_that_on_the_model_s_page(
    prefect_api: None, tmp_path: Path, code: str, error: type[UserError], sentence: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WORKLOAD + code + "\n")
    with pytest.raises(error, match=sentence) as caught:
        retrain(str(file), *QUICK, "train.epochs=1")
    assert "\n" not in str(caught.value)
    registry = Registry(load_settings())
    assert registry.version("digits", 1) is None
    shown = all_statuses(registry)["digits"]["run"]
    assert shown.tone == "bad" and re.search(f"^failed: .*{sentence}", shown.said)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_two_identical_runs_at_once_one_makes_the_version_and_the_other_takes_it(
    prefect_server: str, home: Path, empty_mlflow_database: Path
) -> None:
    """Though a third, which had begun it, was killed: they go on in its MLflow run, to the end that it would have come to."""
    home.mkdir(mode=0o700)
    (home / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    command = [sys.executable, "-m", "flows.cli", "run", "digits", "--json"]
    for setting in (*QUICK, "train.epochs=12", "train.checkpoint_seconds=0", "train.patience=null"):
        command += ["--set", setting]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server, "SLIPWAY_HOME": str(home)}
    pipe, registry = subprocess.PIPE, Registry(load_settings())
    first = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe)
    run_id = wait_for_metrics(first, registry, home)
    others = [subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe) for _ in range(2)]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    said = [Outcome.model_validate_json(other.communicate()[0]) for other in others]
    assert sorted(outcome.decision for outcome in said) == ["promoted", "unchanged"]
    assert {(outcome.version, outcome.run_id) for outcome in said} == {(1, run_id)}
    steps = [m.step for m in registry.client.get_metric_history(run_id, "validation/score")]
    assert len(steps) == 12 == len(set(steps))
    assert registry.client.get_run(run_id).info.status == "FINISHED"
    experiment = registry.client.get_experiment_by_name("digits")
    assert experiment is not None and len(registry.client.search_runs([experiment.experiment_id])) == 1
    assert registry.version("digits", 2) is None


@pytest.mark.slow
def test_a_version_that_another_machine_made_meanwhile_is_taken(
    prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another home, and so none of this one's locks; what both know is the registry."""
    said = ("code, data, settings and libraries are those of version 7",)
    theirs = Outcome(
        workload="digits", model="digits", run_id="theirs", version=7, decision="unchanged", reasons=said
    )
    looks = [None, theirs]
    monkeypatch.setattr("flows.pipeline.reuse.find", lambda *_: looks.pop(0))
    assert retrain("digits", *QUICK, "train.epochs=1") == theirs
    assert Registry(load_settings()).version("digits", 1) is None and looks == []


@pytest.mark.slow
def test_a_run_that_was_killed_before_it_asked_a_person_lets_the_next_one_ask(
    home: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promotions import register_bare

    from flows.pipeline.context import RunContext
    from flows.pipeline.keys import Key
    from flows.retrain import _end_interrupted

    home.mkdir(mode=0o700)
    (home / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    context = RunContext(workload="digits", model="digits", settings=load_settings(), key=Key())
    registry, asked = context.registry, list[int]()
    monkeypatch.setattr("flows.retrain.start_asking", lambda version: asked.append(version.version))
    [version] = register_bare(registry, "digits", 1)
    registry.tag_version(version, {DECISION_TAG: "registered"})
    outcome = Outcome(
        workload="digits",
        model="digits",
        run_id=version.run_id,
        version=1,
        decision="unchanged",
        reasons=("",),
    )
    _end_interrupted(context, outcome, may_promote=True)
    assert asked == []  # nothing was cut off
    assert context.key is not None
    pending = context.folder / "pending" / f"{context.key.digest[:16]}.run"
    pending.parent.mkdir(parents=True)
    pending.write_text(version.run_id)
    _end_interrupted(context, outcome, may_promote=True)
    assert asked == [1] and registry.client.get_run(version.run_id).info.status == "FINISHED"


def wait_for_metrics(process: "subprocess.Popen[bytes]", registry: Registry, home: Path) -> str:
    """Until training has told MLflow something; the run's id."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        for pending in home.glob("work/digits/pending/*.run"):
            run_id = pending.read_text()
            if registry.client.get_metric_history(run_id, "validation/score"):
                return run_id
        time.sleep(0.2)
    raise AssertionError(f"training did not start: {process.poll()}")


@pytest.mark.parametrize(
    "reference", ["churn", "path/to/churn.py", "churn.py:other", "package.churn", "package.churn:other"]
)
def test_a_run_is_called_by_its_workload_however_that_is_named(reference: str) -> None:
    from flows.retrain import short_name

    assert short_name(reference) == "churn"


@pytest.mark.slow
def test_what_ran_from_a_bundle_is_unchanged_as_a_file_and_evidence_and_mlflow_say_where_it_is_from(
    prefect_api: None, home: Path, tmp_path: Path
) -> None:
    from flows.pipeline.keys import difference, make_key
    from tasks.workloads.publishing import publish

    file, helper = tmp_path / "mine.py", tmp_path / "sizes_of_mine.py"
    helper.write_text("NAME = 'mine'\n")
    file.write_text(
        f"{WORKLOAD}import hypothesis\nfrom sizes_of_mine import NAME\nworkload = replace(digits, name=NAME)\n"
    )
    bundle = publish(str(file))
    outcome = retrain(bundle.workload, *QUICK, "train.epochs=6")
    assert outcome.decision == "promoted" and outcome.workload == bundle.workload
    assert retrain(str(file), *QUICK, "train.epochs=6").decision == "unchanged"
    registry = Registry(load_settings())
    champion = registry.by_alias("mine", "champion")
    assert champion is not None and registry.tags(champion)["slipway.bundle"] == bundle.digest
    evidence = json.loads((home / "work" / "mine" / "package" / "evidence.json").read_text())
    assert evidence["origin"]["bundle"] == bundle.digest and evidence["origin"]["author"] == bundle.author
    assert "hypothesis" in evidence["libraries"]
    run_id = outcome.run_id or ""
    assert registry.client.get_run(run_id).data.tags["slipway.bundle"] == bundle.digest
    source = {item.path for item in registry.client.list_artifacts(run_id, "source")}
    assert {item.path for item in registry.client.list_artifacts(run_id, "source/code")} == {
        "source/code/mine.py",
        "source/code/sizes_of_mine.py",
    } and {"source/bundle.json", "source/evidence.sig"} <= source
    key = make_key((), bundle.workload, {})
    file.write_text(f"# a comment is another bundle and no other model\n{file.read_text()}")
    commented = make_key((), (other := publish(str(file))).workload, {})
    assert (
        other.digest != bundle.digest and commented.digest == key.digest and commented.bundle == other.digest
    )
    helper.write_text("NAME = 'mine'\nSIZE = 2\n")
    assert difference(key, make_key((), publish(str(file)).workload, {})) == "sizes_of_mine.py changed"


@pytest.mark.slow
def test_a_file_that_pays_in_another_engine_is_a_candidate_there_with_its_numbers(
    prefect_api: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raced really; that it pays is said, for so small a model seldom does, and selection has the last word by what it measures."""
    pytest.importorskip("openvino")
    monkeypatch.setattr("tasks.proof.other_engine.crossing", lambda speeds: (1, next(speeds)))
    outcome = retrain("digits", *QUICK, "train.epochs=6", "engines=[openvino:fp32]")
    assert outcome.decision == "promoted", outcome.reasons
    assert "in-engine fp32 openvino" in [step.name for step in outcome.steps]

    fp32, other = outcome.candidates
    assert (other.name, other.engine, other.precision) == ("fp32-openvino-fp32", "openvino", "fp32")
    assert other.latency_ratio is not None and (other.status == "picked" or other.reasons)
    evidence = json.loads((home / "work" / "digits" / "package" / "evidence.json").read_text())
    plain, report = evidence["candidates"]
    engine = Engine.model_validate(report["engine"])
    assert str(engine) == f"openvino {metadata.version('openvino')} in fp32"
    assert plain["engine"]["name"] == "onnxruntime"
    assert report["name"] == other.name and report["sha256"] == plain["sha256"] == outcome.digest
    assert [(speed["batch"], speed["rounds"] > 0) for speed in report["speed"]] == [(1, True), (64, True)]
    assert verify(load_settings(), "digits").sha256 == outcome.digest
