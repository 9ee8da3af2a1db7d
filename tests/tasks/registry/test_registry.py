import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.config import Data, RunConfig
from tasks.data.dataset import prepare, read_split
from tasks.errors import StepError, UserError
from tasks.onnx.export import export_module
from tasks.onnx.package import build_folder
from tasks.records import Dataset, Metric, OnnxModel, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import KEY_TAG
from tasks.settings import Settings, load_settings
from tasks.system.files import sha256_of
from tasks.workloads.catalogue import load_workload


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("digits", Data(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def exported(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    from torch import nn

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 10)

        def forward(self, image):  # type: ignore[no-untyped-def]
            return self.inner(image.flatten(1) / 16)

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return export_module(Linear(), load_workload("digits"), dataset, path, {"slipway.workload": "digits"})


@pytest.fixture(params=["sqlite", pytest.param("http", marks=pytest.mark.slow)])
def registry(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry]:
    """A registry on the embedded store, and one on a real server."""
    if request.param == "http":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("mlflow_server"))
    else:
        shutil.copyfile(request.getfixturevalue("empty_mlflow_database"), _made(home) / "mlflow.db")
    yield Registry(load_settings())


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def registered(
    registry: Registry, model: str, exported: OnnxModel, dataset: Dataset, folder: Path, key: str = "k"
) -> int:
    run_id = registry.start_run(model, "a run", {})
    model_id = registry.log_candidate(run_id, dataset, "fp32", {"score": 0.5}, {})
    build_folder(exported, dataset, folder, registry.model_card(model_id, run_id))
    return registry.register(run_id, model, model_id, folder, exported, {KEY_TAG: key}).version


@pytest.mark.slow
def test_what_is_registered_is_the_exported_file_and_predicts_the_same(
    registry: Registry, exported: OnnxModel, dataset: Dataset, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import mlflow
    import onnxruntime

    model = f"exact-{request.node.callspec.id}"
    number = registered(registry, model, exported, dataset, tmp_path / "folder")
    version = registry.version(model, number)
    assert version is not None and version.sha256 == exported.sha256
    folder = registry.download(version, tmp_path / "download")
    assert sha256_of(folder / "model.onnx") == exported.sha256
    rows = {"image": np.array(read_split(dataset, "test").inputs["image"][:7])}
    answer = mlflow.pyfunc.load_model(f"models:/{model}/{number}").predict(rows)
    session = onnxruntime.InferenceSession(exported.path)
    np.testing.assert_allclose(answer["logits"], session.run(None, rows)[0], rtol=1e-5)
    assert mlflow.models.get_model_info(str(folder)).signature.inputs.to_dict()[0]["name"] == "image"


@pytest.mark.slow
def test_aliases_move_and_missing_ones_are_none(
    registry: Registry, exported: OnnxModel, dataset: Dataset, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = f"alias-{request.node.callspec.id}"
    assert registry.by_alias(model, "champion") is None and registry.version(model, 1) is None
    first = registered(registry, model, exported, dataset, tmp_path / "1", key="one")
    second = registered(registry, model, exported, dataset, tmp_path / "2", key="two")
    assert (first, second) == (1, 2)
    registry.set_alias(model, "champion", first)
    registry.set_alias(model, "champion", second)
    champion = registry.by_alias(model, "champion")
    assert champion is not None and champion.version == second
    assert registry.by_alias(model, "previous") is None
    newest = registry.by_tag(model, KEY_TAG, "one")
    assert newest is not None and newest.version == first
    assert registry.by_tag(model, KEY_TAG, "three") is None
    assert registry.version(model, 99) is None


@pytest.mark.slow
def test_a_metric_that_is_delivered_twice_is_stored_once(registry: Registry) -> None:
    run_id = registry.start_run("twice", "a run", {})
    metrics = [Metric("loss", 1.0 / (step + 1), step, 1_700_000_000_000 + step) for step in range(2500)]
    registry.log_metrics(run_id, metrics)
    registry.log_metrics(run_id, metrics[-1500:])
    history = registry.client.get_metric_history(run_id, "loss")
    assert sorted(m.step for m in history) == list(range(2500))


def test_a_run_tells_its_settings_and_data(registry: Registry, dataset: Dataset) -> None:
    run_id = registry.start_run("told", "a run", {"slipway.workload": "digits"})
    registry.log_params(run_id, RunConfig().model_dump(mode="json"))
    registry.log_params(run_id, RunConfig().model_dump(mode="json"))
    registry.log_dataset(run_id, dataset)
    run = registry.client.get_run(run_id)
    assert run.data.params["train.epochs"] == "20" and run.data.params["gates.min_score"] == "null"
    inputs = {i.tags[0].value: i.dataset for i in run.inputs.dataset_inputs}
    assert (
        set(inputs) == {"train", "validation", "test"} and inputs["test"].digest == dataset.fingerprint[:16]
    )


def test_candidates_are_compared_by_metrics_of_one_name_and_the_run_shows_the_tested_one(
    registry: Registry, dataset: Dataset
) -> None:
    run_id = registry.start_run(dataset.workload, "a run", {})
    for name, score in (("fp32", 0.9), ("int8.v2", 0.7)):
        params = {"status": "front", "why": f"{score} is enough"}
        last = registry.log_candidate(run_id, dataset, name, {"score": score, "size_bytes": 3.0}, params)
    registry.log_measured(run_id, dataset, last, {"score": 0.6}, "test")
    assert registry.client.get_run(run_id).data.metrics == {"score": 0.6, "size_bytes": 3.0}
    logged = registry.client.search_logged_models(
        [registry.experiment(dataset.workload)], f"source_run_id = '{run_id}'"
    )
    measured = {
        (model.name, metric.key, metric.dataset_name): metric.value
        for model in logged
        for metric in model.metrics
    }
    assert measured == {
        ("fp32", "score", "digits-validation"): 0.9,
        ("fp32", "size_bytes", "digits-validation"): 3.0,
        ("int8_v2", "score", "digits-validation"): 0.7,
        ("int8_v2", "size_bytes", "digits-validation"): 3.0,
        ("int8_v2", "score", "digits-test"): 0.6,
    }
    assert {model.params["status"] for model in logged} == {"front"}


def test_an_experiment_opens_as_machine_learning_also_when_it_is_older(registry: Registry) -> None:
    registry.client.create_experiment("older")
    for name in ("older", "newer"):
        registry.start_run(name, "a run", {})
        tags = registry.client.get_experiment_by_name(name).tags
        assert tags["mlflow.experimentKind"] == "custom_model_development"
        view = json.loads(tags["mlflow.sharedViewState.slipway"])
        shown = json.loads(view["state"])["selectedColumns"]
        assert {"metrics.`score`", "tags.`slipway.verdict`", "tags.`slipway.decision`"} <= set(shown)


def test_only_an_unfinished_run_is_resumed(registry: Registry) -> None:
    run_id = registry.start_run("resumed", "a run", {})
    registry.finish_run(run_id, "FAILED")
    assert registry.resume_run(run_id) and registry.client.get_run(run_id).info.status == "RUNNING"
    registry.finish_run(run_id)
    assert not registry.resume_run(run_id) and not registry.resume_run("0" * 32)


def settings_at(uri: str, home: Path) -> Settings:
    return Settings(home=home, tracking_uri=uri)


def test_a_server_that_does_not_answer_is_said_at_once_and_without_its_password(home: Path) -> None:
    with pytest.raises(
        StepError, match="MLflow does not answer at http://127.0.0.1:1 .*start it there"
    ) as caught:
        Registry(settings_at("http://me:secret@127.0.0.1:1", home)).start_run("m", "r", {})
    assert "secret" not in str(caught.value)


def test_an_address_that_is_none_is_refused(home: Path) -> None:
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI=nonsense is not an address"):
        Registry(settings_at("nonsense", home)).start_run("m", "r", {})


def test_a_page_is_named_without_the_password_of_the_server(
    home: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(settings_at(mlflow_server.replace("//", "//me:secret@"), home))
    version = Version(model="pages", version=3, sha256="", run_id="r1")
    page = registry.run_address("pages", "r1")
    kind = "?workflowType=machine_learning"
    assert page is not None and page.startswith(f"{mlflow_server}/#/experiments/")
    assert page.endswith(f"/runs/r1{kind}")
    file = registry.run_address("pages", "r1", "report.html")
    assert file == page.replace(kind, f"/artifacts/report.html{kind}")
    assert registry.version_address(version) == f"{mlflow_server}/#/models/pages/versions/3{kind}"


def test_a_candidate_with_a_dot_and_a_card_longer_than_a_column_are_registered(
    registry: Registry, dataset: Dataset, exported: OnnxModel, tmp_path: Path
) -> None:
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion

    run_id = registry.start_run("dotted", "a run", {})
    model_id = registry.log_candidate(run_id, dataset, "int8.v2", {"score": 0.5}, {})
    (tmp_path / "m").mkdir()
    card = "x" * 6000
    made = registry.register(run_id, "dotted", model_id, tmp_path / "m", exported, {}, card)
    shown = registry.client.get_model_version("dotted", str(made.version)).description
    assert shown == f"{card[: SqlModelVersion.description.type.length - 1]}…"
    for text, expected in (
        ("one *ours*", "one *ours*"),
        ("two *ours*", "two *ours*"),
        ("a person's", "a person's"),
    ):
        registry.describe("dotted", text, mark="*ours*")
        assert registry.client.get_registered_model("dotted").description == expected
    registry.describe("dotted", "three *ours*", mark="*ours*")
    assert registry.client.get_registered_model("dotted").description == "a person's"
