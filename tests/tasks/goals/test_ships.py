"""Every kind of goal on its way: trained, exported, held to torch, scored, compared and judged, by the same steps."""

import shutil
from pathlib import Path

import pytest
from checkout import SUPPORT

from tasks.config import Gates
from tasks.data.arrays import load_arrays
from tasks.data.dataset import prepare
from tasks.onnx.export import export
from tasks.proof.gate import gate
from tasks.proof.holdout import Answered, compare_with
from tasks.proof.validation import validate
from tasks.records import Champion
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload

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

    answered = Answered(dataset, "test", load_arrays(report.outputs))
    (tmp_path / "champion").mkdir()
    shutil.copyfile(fp32.onnx.path, tmp_path / "champion" / "model.onnx")
    champion = Champion(version=1, sha256=fp32.onnx.sha256, folder=tmp_path / "champion")
    comparison = compare_with(workload, answered, champion, workload.gates)
    assert comparison.problem is None and comparison.difference == 0 and comparison.changed == 0
    verdict = gate(report, report, None, comparison, None, Gates(margin=0.1))
    assert verdict.decision == "pass", verdict.reasons
