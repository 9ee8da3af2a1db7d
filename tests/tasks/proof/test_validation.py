"""What is measured of a candidate's file, and which files are refused before they cost more."""

import re
from pathlib import Path

import numpy as np
import onnx
import promotions
import proved
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.config import Gates, RunConfig
from tasks.data.arrays import load_arrays
from tasks.engines import Engine
from tasks.errors import UserError
from tasks.measured import Champion, CrossValidation, Interval, Proof, Verdict
from tasks.onnx.description import describe
from tasks.proof.gate import gate
from tasks.proof.holdout import answer_again, judge
from tasks.proof.parity import Numbers, numbers_in
from tasks.proof.probe import probe
from tasks.proof.validation import _held_as, validate
from tasks.records import Candidate, Dataset, OnnxModel

Digits = tuple[Dataset, Candidate]


def altered(
    candidate: Candidate, dataset: Dataset, path: Path, change: object, name: str = "other"
) -> Candidate:
    """A copy of a candidate's file with its graph changed, compared with the same reference."""
    assert candidate.onnx is not None
    proto = onnx.load(candidate.onnx.path)
    change(proto)  # type: ignore[operator]
    path.write_bytes(proto.SerializeToString())
    return Candidate(name=name, onnx=describe(path, "hand", dataset.inputs, candidate.onnx.reference))


@pytest.fixture(autouse=True)
def quick_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a file is matters to no test here."""
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)


def file_of(candidate: Candidate) -> OnnxModel:
    assert candidate.onnx is not None
    return candidate.onnx


@pytest.mark.slow
def test_a_sound_file_is_measured_in_full(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    report = validate("digits", dataset, fp32, fp32, tmp_path, "test")
    assert report.problems == () and report.score > 0.9 and report.rows == dataset.rows["test"]
    assert report.interval is not None and report.interval.low < report.score < report.interval.high
    assert [part.batch for part in report.parity] == [1, 7, dataset.rows["validation"]]
    assert all(part.max_abs < 1e-4 and part.changed == 0 for part in report.parity)
    assert {part.value for part in report.slices} == set("0123456789")
    assert sum(part.rows for part in report.slices) == report.rows
    assert [part.batch for part in report.speed] == [1, 64]
    assert {part.given: part.outcome for part in report.behaviour}["no rows"].startswith("an empty answer")
    assert report.load_seconds is not None and report.gzipped_bytes is not None
    assert report.outputs is not None and load_arrays(report.outputs)["logits"].shape == (report.rows, 10)


@pytest.mark.slow
def test_a_float_file_that_computes_something_else_is_a_problem(
    linear_digits: Digits, tmp_path: Path
) -> None:
    dataset, fp32 = linear_digits
    shifted = proved.candidate(dataset, tmp_path / "noisy.onnx", "noisy", noise=0.3)
    shifted = shifted.model_copy(
        update={"onnx": file_of(shifted).model_copy(update={"reference": file_of(fp32).reference})}
    )
    report = validate("digits", dataset, shifted, fp32, tmp_path)
    assert any("its outputs differ from the model's by" in problem for problem in report.problems)


@pytest.mark.slow
def test_a_quantised_file_is_held_to_its_predictions(linear_digits: Digits, tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    dataset, fp32 = linear_digits
    path = tmp_path / "int8.onnx"
    proto = onnx.load(file_of(fp32).path)
    del proto.graph.value_info[:]  # or the quantiser's shape inference contradicts the exporter's
    onnx.save(proto, tmp_path / "bare.onnx")
    quantize_dynamic(tmp_path / "bare.onnx", path)
    int8 = Candidate(name="int8", onnx=describe(path, "hand", dataset.inputs, None))
    assert numbers_in(file_of(int8)) == "quantised" and numbers_in(file_of(fp32)) == "float"
    report = validate("digits", dataset, int8, fp32, tmp_path)
    assert report.problems == () and max(part.max_abs for part in report.parity) > 1e-3


@pytest.mark.parametrize(
    ("numbers", "precision", "held"),
    [
        ("float", "bf16", "half"),
        ("float", "fp32", "float"),
        ("float", None, "float"),
        ("half", "bf16", "half"),
        ("half", "fp32", "half"),
        ("quantised", "int8+bf16", "quantised"),
    ],
)
def test_a_float_file_run_in_bf16_is_held_to_the_digits_of_half_precision_and_no_other(
    numbers: Numbers, precision: str | None, held: Numbers
) -> None:
    """Asked of the function: few processors run bf16."""
    assert _held_as(numbers, Engine(name="openvino", precision=precision)) == held


def poison(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))


STRICT = """
from dataclasses import replace
import numpy as np
from tasks.workloads.examples.digits import workload as digits

def strict(truth, answers):
    if not np.isfinite(answers).all():
        raise ValueError("Input contains NaN.")
    return float((answers.argmax(axis=1) == truth).mean())

workload = replace(digits, score=strict, probabilities=True)
"""


@pytest.mark.slow
def test_a_score_that_takes_no_nan_ends_no_run(linear_digits: Digits, tmp_path: Path) -> None:
    """scikit-learn's raise: a candidate whose answers are NaN is refused for them, a champion is not compared."""
    dataset, fp32 = linear_digits
    (tmp_path / "mine.py").write_text(STRICT)
    mine, folder = str(tmp_path / "mine.py"), tmp_path / "champion"
    folder.mkdir()
    broken = altered(fp32, dataset, folder / "model.onnx", poison)
    report = validate(mine, dataset, broken, fp32, tmp_path)
    assert any("is not a finite number" in problem for problem in report.problems) and report.score == 0
    sound = report.model_copy(update={"outputs": file_of(fp32).reference, "problems": ()})
    comparison = proved.compared(mine, dataset, sound, Champion(version=4, sha256="", folder=folder))
    assert comparison.problem is not None and "its score strict failed on " in comparison.problem
    assert gate(sound, sound, None, comparison, None, Gates()).decision == "inconclusive"


@pytest.mark.slow
def test_answers_that_are_not_finite_are_a_problem(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    report = validate(
        "digits", dataset, altered(fp32, dataset, tmp_path / "nan.onnx", poison), fp32, tmp_path
    )
    assert any("is not a finite number" in problem for problem in report.problems)
    assert report.model_validate_json(report.model_dump_json()) == report


def test_a_file_that_the_checker_refuses_is_not_run(linear_digits: Digits, tmp_path: Path) -> None:
    def tangle(proto: onnx.ModelProto) -> None:
        proto.graph.node[-1].input[0] = "nothing"

    dataset, fp32 = linear_digits
    report = validate(
        "digits", dataset, altered(fp32, dataset, tmp_path / "bad.onnx", tangle), fp32, tmp_path
    )
    assert report.problems[0].startswith("the ONNX checker refuses it") and report.speed == ()


def test_what_the_checker_forgives_and_the_runtime_does_not_is_a_problem(
    linear_digits: Digits, tmp_path: Path
) -> None:
    def estrange(proto: onnx.ModelProto) -> None:
        proto.graph.node[-1].domain = "elsewhere"
        proto.opset_import.append(helper.make_opsetid("elsewhere", 1))

    dataset, fp32 = linear_digits
    strange = altered(fp32, dataset, tmp_path / "strange.onnx", estrange)
    answer = probe(file_of(strange).path, dataset, "validation", 8)
    assert answer.problem is not None and "does not load in ONNX Runtime" in answer.problem


def recurrent(path: Path) -> Path:
    """An LSTM over the lines of a digit."""
    random = np.random.default_rng(0)
    tensors = {
        "one": np.array([1]),
        "zero": np.array([0]),
        "w": random.normal(size=(1, 40, 8)).astype("float32"),
        "r": random.normal(size=(1, 40, 10)).astype("float32"),
    }
    nodes = [
        helper.make_node("Squeeze", ["image", "one"], ["lines"]),
        helper.make_node("Transpose", ["lines"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "w", "r"], ["", "last"], hidden_size=10),
        helper.make_node("Squeeze", ["last", "zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lines",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(proto.SerializeToString())
    return path


def test_a_model_that_no_rows_would_end_is_fit_for_all_that_the_server_lets_through(
    linear_digits: Digits, tmp_path: Path
) -> None:
    answer = probe(recurrent(tmp_path / "lstm.onnx"), linear_digits[0], "validation", 8)
    assert answer.problem is None and answer.load_seconds is not None
    given = {odd.given: odd.outcome for odd in answer.behaviour}
    assert list(given)[-1] == "no rows" and re.match(
        "an empty answer|the process was ended by", given["no rows"]
    )
    assert given["NaN in every number"] == "NaN"


def test_a_file_changed_since_it_was_made_is_not_measured(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    copy = tmp_path / "model.onnx"
    copy.write_bytes(file_of(fp32).path.read_bytes() + b"\x00")
    moved = Candidate(name="moved", onnx=file_of(fp32).model_copy(update={"path": copy}))
    with pytest.raises(UserError, match="was altered since it was made"):
        validate("digits", dataset, moved, fp32, tmp_path)


@pytest.mark.slow
def test_what_folds_found_counts_against_another_champion_too(
    linear_digits: Digits, tmp_path: Path, home: Path
) -> None:
    dataset, fp32 = linear_digits
    folder = file_of(fp32).path.parent
    report = validate("digits", dataset, fp32, fp32, tmp_path, "test")
    interval = Interval(low=0.5, high=0.6, level=0.95)
    cross = CrossValidation(
        folds=5, rows=1797, score=0.55, score_name="accuracy", interval=interval, scores=(0.5, 0.6)
    )
    made = promotions.make_evidence(report.sha256, "digits").model_copy(
        update={
            "fingerprint": dataset.fingerprint,
            "config": RunConfig(gates=Gates(min_score=0.75, folds=5)).model_dump(mode="json"),
            "proof": Proof(
                report=report,
                baseline=report,
                cross_validation=cross,
                verdict=Verdict(decision="fail", reasons=()),
            ),
        }
    )
    champion = Champion(version=4, sha256=report.sha256, folder=folder)
    verdict = judge(made, champion, answer_again(made, folder / "model.onnx", tmp_path / "datasets"))
    assert verdict.decision == "fail"
    assert "surely below the minimum of 0.75" in verdict.reasons[-1]
