"""The pick against the champion's own bytes, on rows that nothing has seen."""

from pathlib import Path

import promotions
import proved
import pytest
from onnx import TensorProto, helper

from tasks.config import Gates
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.measured import Champion, Report
from tasks.proof import holdout
from tasks.proof.gate import gate
from tasks.proof.holdout import prove, proved_here
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


OTHER = Engine(name="openvino", precision="bf16", rows=8)


@pytest.mark.parametrize("of_fp32", [True, False])
def test_the_bytes_of_a_pick_in_another_engine_are_proved_in_onnx_runtime_too_once(
    of_fp32: bool, linear_digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    file = file_of(fp32) if of_fp32 else file_of(fp32).model_copy(update={"sha256": "8" * 64})
    pick = Candidate(name="pick-openvino", engine=OTHER, onnx=file)
    asked, tried = [], []

    def validate(_: str, __: Dataset, candidate: Candidate, *rest: object) -> Report:
        asked.append((candidate.engine.name, file_of(candidate).sha256))
        sha256 = file_of(candidate).sha256
        return Report(
            name=candidate.name, split="test", rows=9, score=0.9, score_name="accuracy", sha256=sha256, size_bytes=1,
            engine=candidate.engine, problems=("cannot be loaded",) if sha256[0] == "8" and candidate.engine == ONNX_RUNTIME else (),
        )  # fmt: skip

    monkeypatch.setattr(holdout, "validate", validate)
    monkeypatch.setattr(holdout, "try_on_server", lambda *given: tried.append(given[-1]))
    proof = prove("digits", dataset, pick, fp32, None, Gates(), tmp_path, tmp_path)
    own = file_of(fp32).sha256
    beside = [] if of_fp32 else [("onnxruntime", "8" * 64)]
    assert asked == [("openvino", file.sha256), ("onnxruntime", own), *beside] and tried == [OTHER]
    assert (proof.in_onnxruntime is None) is of_fp32
    assert (proof.verdict.decision == "fail") is not of_fp32  # what would serve elsewhere has to hold


def test_what_this_machine_would_not_run_in_its_engine_is_asked_in_onnx_runtime() -> None:
    evidence = promotions.make_evidence("c", "digits")
    assert proved_here(evidence) == evidence.proof.report
    away = OTHER.model_copy(update={"instructions": ("amx_of_tomorrow",)})
    report = evidence.proof.report.model_copy(update={"engine": away})
    proof = evidence.proof.model_copy(update={"report": report})
    assert proved_here(evidence.model_copy(update={"proof": proof})) == proof.baseline
    plain = report.model_copy(update={"engine": ONNX_RUNTIME, "score": 0.5})
    proof = proof.model_copy(update={"in_onnxruntime": plain})
    assert proved_here(evidence.model_copy(update={"proof": proof})) == plain
