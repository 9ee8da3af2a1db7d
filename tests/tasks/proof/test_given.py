"""A model that exists goes the way of a trained one: kept, exported, compressed as far as a file allows, measured, proved."""

from pathlib import Path

import given_models
import numpy as np
import onnx
import pytest
from given_models import Way, given

from tasks.config import Gates
from tasks.errors import UserError
from tasks.measured import Report
from tasks.onnx.exporters import AS_IT_CAME
from tasks.onnx.package import build_folder
from tasks.proof.holdout import prove
from tasks.records import Candidate

DYNAMIC = {"kind": "quantize", "mode": "dynamic"}
PRUNE = {"kind": "prune", "ratio": 0.5}


@pytest.fixture(autouse=True)
def quick_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a file is matters to no test here."""
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Way]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in given_models.WRITERS}
    return {kind: Way(given(folder, kind), folder) for kind, folder in folders.items()}


def measured(way: Way, candidate: Candidate) -> Report:
    assert candidate.onnx is not None, candidate.refused
    return way.report(candidate)


@pytest.mark.slow
def test_each_kind_of_file_is_measured_on_all_rows_but_the_test_rows(ways: dict[str, Way]) -> None:
    for kind, way in ways.items():
        report = measured(way, way.fp32)
        rows = way.dataset.rows
        assert rows["train"] == rows["validation"] == report.rows == 240 - rows["test"]
        assert report.problems == () and report.score > 0.85
        assert max(parity.max_abs for parity in report.parity) < 1e-4
        assert not way.checkpoint.step and way.checkpoint.remarks[0].startswith("nothing was trained: "), kind


@pytest.mark.slow
def test_the_same_net_is_the_same_file_whether_it_came_as_weights_or_as_a_program(
    ways: dict[str, Way],
) -> None:
    ours, theirs = ways["Weights"].fp32.onnx, ways["Exported"].fp32.onnx
    assert ours is not None and theirs is not None and ours.sha256 == theirs.sha256


@pytest.mark.slow
def test_an_onnx_file_ships_as_it_came_but_for_its_notes(ways: dict[str, Way]) -> None:
    shipped = ways["Onnx"].fp32.onnx
    assert shipped is not None and shipped.exporter == AS_IT_CAME and shipped.opset == 17
    ours, theirs = onnx.load(shipped.path), given_models.graph()
    assert [node.op_type for node in ours.graph.node] == [node.op_type for node in theirs.graph.node]
    assert list(ours.graph.initializer) == list(theirs.graph.initializer)
    assert {prop.key: prop.value for prop in ours.metadata_props} == {"a": "b"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", given_models.WRITERS)
def test_what_acts_on_the_file_is_tried_and_what_needs_training_is_refused_by_name(
    kind: str, ways: dict[str, Way]
) -> None:
    way = ways[kind]
    assert measured(way, way.compress("int8-dynamic", DYNAMIC)).score > 0.8
    half = way.compress("float16", {"kind": "float16"})
    assert half.onnx is not None and measured(way, half).problems == ()
    why = {
        "Weights": "trains what it has changed, and train=None trains nothing",
    }.get(kind, "needs a torch module, and this workload ships a file")
    for step in (PRUNE, {"kind": "distill", "student": "small"}):
        refused = way.compress("pruned-50", step, DYNAMIC).refused
        assert refused == f"Recipe pruned-50: {step['kind']} {why}: give quantize or float16."


@pytest.mark.slow
def test_a_given_file_is_proved_in_the_real_server(ways: dict[str, Way], tmp_path: Path) -> None:
    way = ways["Onnx"]
    half = way.compress("float16", {"kind": "float16"})
    assert half.onnx is not None
    build_folder(half.onnx, way.dataset, tmp_path / "package")
    proof = prove(
        way.reference, way.dataset, half, way.fp32, None, Gates(min_score=0.7), tmp_path / "package", tmp_path
    )
    assert proof.verdict.decision == "pass", proof.verdict.reasons
    assert proof.trial is not None and proof.trial.problems == () and proof.against_fp32 is not None


@pytest.mark.slow
def test_a_file_that_answers_other_batches_otherwise_is_found_out(tmp_path: Path) -> None:
    """Its mean is over the rows that come together: what it says of a row hangs on the others."""
    proto = given_models.graph()
    helper = onnx.helper
    proto.graph.node[0].input[0] = "centred"
    proto.graph.node.insert(0, helper.make_node("ReduceMean", ["numbers"], ["mean"], axes=[0], keepdims=1))
    proto.graph.node.insert(1, helper.make_node("Sub", ["numbers", "mean"], ["centred"]))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    file = given_models.workload_file(tmp_path, f"Onnx({str(tmp_path / 'model.onnx')!r})")
    way = Way(str(file), tmp_path)
    report = measured(way, way.fp32)
    assert report.company is not None and report.company.changed > 0.1
    assert any("at batch 1 its outputs differ from the model's" in problem for problem in report.problems)


@pytest.mark.slow
def test_a_file_that_takes_only_the_sizes_it_was_traced_with_is_refused(tmp_path: Path) -> None:
    proto = given_models.graph()
    shape = onnx.numpy_helper.from_array(np.array([2, 3]), "shape")
    proto.graph.initializer.append(shape)
    proto.graph.node[2].output[0] = "flat"
    proto.graph.node.append(onnx.helper.make_node("Reshape", ["flat", "shape"], ["logits"]))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    file = given_models.workload_file(tmp_path, f"Onnx({str(tmp_path / 'model.onnx')!r})")
    with pytest.raises(UserError, match="fails on a row alone"):
        Way(str(file), tmp_path)
