"""Every kind of goal on its way: trained, exported, held to torch, scored, compared and judged, by the same steps."""

import json
import shutil
from pathlib import Path

import numpy as np
import promotions
import pytest
from checkout import SUPPORT

from tasks.compression.candidate import compress
from tasks.config import Gates, Train
from tasks.data.arrays import load_arrays
from tasks.data.dataset import asked_rows, prepare, read_split
from tasks.measured import Champion, Report
from tasks.onnx.export import export
from tasks.onnx.package import build_folder
from tasks.onnx.session import open_session, run_named
from tasks.proof.gate import gate
from tasks.proof.holdout import Answered, compare_with
from tasks.proof.selection import select
from tasks.proof.serving import serve, try_on_server
from tasks.proof.signature import signature_change
from tasks.proof.validation import validate
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import DEFAULT_RECIPES

GOALS = {
    "labels": 0.6,
    "amounts": 0.9,
    "ahead": -3.0,
    "spread": -1.0,
    "tags": 0.95,
    "order": 0.8,
    "again": -0.5,
    "pairs": 0.5,
    "both": 0.8,
}
"""The least that each learns to score."""

BESIDE = {
    "ahead": ["mae by step"],
    "spread": ["mase", "mae by step", "coverage of 0.8", "crossed quantiles"],
}
"""What is said beside a score."""


@pytest.mark.slow
@pytest.mark.parametrize("name", GOALS)
def test_a_goal_is_trained_exported_proved_and_judged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = f"{SUPPORT / 'goal_workloads.py'}:{name}"
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, tmp_path / "datasets")
    checkpoint = train(reference, dataset, workload.train, tmp_path / "training")
    fp32 = export(reference, dataset, checkpoint, tmp_path / "export" / "model.onnx", metadata={})
    assert fp32.onnx is not None and checkpoint.score > GOALS[name]
    assert tuple(spec.name for spec in fp32.onnx.outputs) == workload.served

    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)
    report = validate(reference, dataset, fp32, fp32, tmp_path / "reports", "test")
    assert report.problems == () and report.score > GOALS[name] and report.outputs is not None
    assert report.interval is not None and report.interval.low <= report.score <= report.interval.high
    assert report.company is not None and report.company.changed == 0
    assert len(report.others) == len(workload.goals) - 1
    assert [detail.name for detail in report.details] == BESIDE.get(name, [])

    answered = Answered(dataset, "test", load_arrays(report.outputs))
    (tmp_path / "champion").mkdir()
    shutil.copyfile(fp32.onnx.path, tmp_path / "champion" / "model.onnx")
    champion = Champion(version=1, sha256=fp32.onnx.sha256, folder=tmp_path / "champion")
    comparison = compare_with(workload, answered, champion, workload.gates)
    assert comparison.problem is None and comparison.difference == 0 and comparison.changed == 0
    shutil.copyfile((fp32.bare or fp32.onnx).path, tmp_path / "champion" / "model.onnx")
    older = compare_with(workload, answered, Champion(version=0, sha256="", folder=champion.folder), Gates())
    assert older.problem is None  # one that serves the model's own outputs is decided as ours are
    verdict = gate(report, report, None, comparison, None, Gates(margin=0.1))
    assert verdict.decision == "pass", verdict.reasons


@pytest.mark.slow
def test_words_come_back_from_the_server_from_mlflow_and_from_the_runtime_alike(tmp_path: Path) -> None:
    import mlflow.pyfunc
    import requests

    reference = f"{SUPPORT / 'goal_workloads.py'}:both"
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, tmp_path / "datasets")
    checkpoint = train(reference, dataset, Train(epochs=3, threads=1), tmp_path / "training")
    fp32 = export(reference, dataset, checkpoint, tmp_path / "export" / "model.onnx", metadata={})
    assert fp32.onnx is not None and fp32.bare is not None
    package = tmp_path / "package"
    build_folder(fp32.onnx, dataset, package)
    trial = try_on_server(package, "both", fp32.onnx.sha256, asked_rows(dataset, "test", 70))
    assert trial.problems == () and trial.rows == 130

    rows = np.array(read_split(dataset, "test").inputs["x"][:5])
    expected = run_named(open_session(fp32.onnx.path), {"x": rows}, workload.served)
    words = expected["label"].tolist()
    assert set(words) <= {"cold", "mild", "warm"} and expected["probability"].shape == (5, 3)
    old = promotions.make_evidence("both", "both").model_copy(update={"classes": ("cold", "fog", "warm")})
    (tmp_path / "old").mkdir()
    shutil.copyfile(fp32.onnx.path, tmp_path / "old" / "model.onnx")
    (tmp_path / "old" / "evidence.json").write_text(old.model_dump_json())
    outputs = run_named(open_session(fp32.onnx.path), read_split(dataset, "test").inputs, workload.served)
    champion = Champion(version=4, sha256="", folder=tmp_path / "old")
    comparison = compare_with(workload, Answered(dataset, "test", outputs), champion, workload.gates)
    report = Report(
        name="fp32", split="test", rows=130, score=1, score_name="accuracy", sha256="", size_bytes=1
    )
    reasons = gate(report, report, None, comparison, None, workload.gates).reasons
    assert any(
        "it does not know mild, whose rows it gets wrong; only it knows fog" in said for said in reasons
    )

    bare = run_named(open_session(fp32.bare.path), {"x": rows}, workload.outputs)
    assert [(dataset.classes or ())[code] for code in bare["logits"].argmax(1)] == words
    assert mlflow.pyfunc.load_model(str(package)).predict({"x": rows})["label"].tolist() == words

    with serve(package, "both") as (url, _):
        said = requests.post(f"{url}/invocations", json={"inputs": {"x": rows.tolist()}}, timeout=30).json()
        assert said["predictions"]["label"] == words
        tensor = {"name": "x", "shape": [5, 12], "datatype": "FP32", "data": rows.ravel().tolist()}
        path = f"{url}/v2/models/both/infer"
        plain = requests.post(path, json={"inputs": [tensor]}, timeout=30).json()["outputs"]
        assert plain[0] | {"name": "label", "datatype": "BYTES", "shape": [5], "data": words} == plain[0]
        asked = {"inputs": [tensor], "outputs": [{"name": "label", "parameters": {"binary_data": True}}]}
        answer = requests.post(path, json=asked, timeout=30)
        packed = answer.content[int(answer.headers["Inference-Header-Content-Length"]) :]
        assert packed == b"".join(len(word).to_bytes(4, "little") + word.encode() for word in words)


@pytest.mark.slow
def test_a_file_of_8_bits_has_thresholds_of_its_own_and_its_decision_behind_its_quantised_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = f"{SUPPORT / 'goal_workloads.py'}:labels"
    workload, gates = load_workload(reference), Gates(max_score_drop=1.0)
    dataset = prepare(reference, workload.data, tmp_path / "datasets")
    checkpoint = train(reference, dataset, Train(epochs=8, threads=1), tmp_path / "training")
    fp32 = export(reference, dataset, checkpoint, tmp_path / "export" / "model.onnx", metadata={})
    recipe, folder = DEFAULT_RECIPES[0], tmp_path / "candidates"
    int8 = compress(reference, dataset, checkpoint, fp32, recipe, folder, workload.train, gates)
    assert int8.refused is None and int8.onnx is not None and int8.bare is not None
    assert [spec.name for spec in int8.onnx.outputs] == ["label", "probability"]
    assert int8.fitted[0].thresholds != fp32.fitted[0].thresholds != (0.5,) * 14
    assert any("fit no threshold" in note for note in int8.notes)
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)
    report = validate(reference, dataset, int8, fp32, tmp_path / "reports")
    assert report.problems == () and report.fitted == int8.fitted and report.score > 0.3


@pytest.mark.platform
@pytest.mark.parametrize("name", GOALS)
def test_compression_is_judged_by_the_metric_of_each_goal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its own metric loses decides, and is said in it."""
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)
    reference = f"{SUPPORT / 'goal_workloads.py'}:{name}"
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, tmp_path / "datasets")
    checkpoint = train(reference, dataset, workload.train, tmp_path / "training")
    fp32 = export(reference, dataset, checkpoint, tmp_path / "export" / "model.onnx", metadata={})
    int8 = compress(
        reference,
        dataset,
        checkpoint,
        fp32,
        DEFAULT_RECIPES[0],
        tmp_path / "candidates",
        workload.train,
        Gates(),
    )
    assert int8.refused is None
    reports = [validate(reference, dataset, file, fp32, tmp_path / "reports") for file in (fp32, int8)]
    assert all(report.problems == () for report in reports)
    metric, drop = workload.goals[0].metric.name, reports[0].score - reports[1].score
    assert {report.score_name for report in reports} == {metric} and abs(drop) < 0.1 * abs(reports[0].score)
    lost = reports[1].model_copy(update={"score": reports[0].score - 0.5})
    allowed, refused = (
        next(
            result
            for result in select([reports[0], file], [], Gates(max_score_drop=0.3)).candidates
            if result.name == int8.name
        )
        for file in (reports[1], lost)
    )
    assert not any("below fp32's" in reason for reason in allowed.reasons)
    assert any(reason.startswith(f"{metric} ") and "below fp32's" in reason for reason in refused.reasons)


def test_another_signature_is_said_in_words_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    for name, outputs in (("old", ["logits", "float32"]), ("new", ["label", "str"])):
        (tmp_path / name).mkdir()
        tensors = [
            {"name": n, "type": "tensor", "tensor-spec": {"dtype": kind, "shape": [-1]}}
            for n, kind in (["x", "float32"], outputs)
        ]
        signature = {"inputs": json.dumps(tensors[:1]), "outputs": json.dumps(tensors[1:])}
        (tmp_path / name / "MLmodel").write_text(json.dumps({"signature": signature}))
    said = signature_change(tmp_path / "new", tmp_path / "old")
    assert said == "outputs are label str[-1] and were logits float32[-1]"
    assert signature_change(tmp_path / "new", tmp_path / "new") is None
    assert signature_change(tmp_path / "new", tmp_path) is None
