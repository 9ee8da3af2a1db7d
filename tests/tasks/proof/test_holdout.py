"""The pick against the champion's own bytes, on rows that nothing has seen."""

from pathlib import Path

import promotions
import proved
import pytest
from onnx import TensorProto, helper

from tasks.config import Gates
from tasks.measured import Champion
from tasks.proof.gate import gate
from tasks.proof.validation import validate
from tasks.records import Candidate, Dataset, OnnxModel

Digits = tuple[Dataset, Candidate]


@pytest.fixture(autouse=True)
def quick_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a file is matters to no test here."""
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)


def file_of(candidate: Candidate) -> OnnxModel:
    assert candidate.onnx is not None
    return candidate.onnx


@pytest.mark.slow
def test_a_champion_is_compared_by_its_own_bytes(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    worse = proved.candidate(dataset, tmp_path / "old" / "model.onnx", "fp32", noise=0.15)
    report = validate("digits", dataset, fp32, fp32, tmp_path, "test")
    champion = Champion(version=4, sha256=file_of(worse).sha256, folder=tmp_path / "old")
    comparison = proved.compared("digits", dataset, report, champion)
    assert comparison.difference is not None and comparison.difference > 0 and comparison.problem is None
    assert comparison.score == pytest.approx(
        validate("digits", dataset, worse, worse, tmp_path / "w", "test").score
    )


@pytest.mark.slow
def test_a_champion_whose_file_was_exchanged_is_not_compared(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    proved.candidate(dataset, tmp_path / "old" / "model.onnx", "fp32", noise=9.0)
    report = validate("digits", dataset, fp32, fp32, tmp_path, "test")
    champion = Champion(version=4, sha256="c" * 64, folder=tmp_path / "old")
    comparison = proved.compared("digits", dataset, report, champion)
    assert comparison.problem == "its model.onnx is not the file that was registered, cccccccccccccccc…"
    assert gate(report, report, None, comparison, None, Gates()).decision == "inconclusive"


@pytest.mark.slow
def test_a_champion_with_other_inputs_is_said_to_be(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["logits"])],
        "old",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 64])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    report = validate("digits", dataset, fp32, fp32, tmp_path, "test")
    comparison = proved.compared("digits", dataset, report, Champion(version=4, sha256="", folder=tmp_path))
    assert comparison.problem == "it takes the inputs pixels and not image" and comparison.difference is None


@pytest.mark.slow
def test_a_champion_of_other_classes_is_said_to_be(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    old = promotions.make_evidence("c", "digits").model_copy(update={"classes": ("cat", "dog")})
    (tmp_path / "evidence.json").write_text(old.model_dump_json())
    report = validate("digits", dataset, fp32, fp32, tmp_path, "test")
    comparison = proved.compared("digits", dataset, report, Champion(version=4, sha256="", folder=tmp_path))
    assert comparison.difference is None and comparison.problem is not None
    words = "it knows other classes (cat, dog) than the data has now (0, 1, 2, 3, 4 and 5 more)"
    assert comparison.problem == words
