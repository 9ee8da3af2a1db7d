"""A row's answer is its own, whoever's rows come with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from toy_training import workload as toy

from tasks.config import Gates
from tasks.data.dataset import asked_rows, read_split
from tasks.goals import Tag
from tasks.measured import Company, Report
from tasks.onnx.session import open_session
from tasks.outcome import Selection
from tasks.proof.company import measure_company
from tasks.proof.gate import beside_others, gate
from tasks.proof.selection import select
from tasks.records import Dataset
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import decisions

CLASSES = replace(load_workload("digits"), output="y")
NUMBERS = replace(CLASSES, kind="regression")


def session(*nodes: onnx.NodeProto, **tensors: Any) -> Any:
    """A model from x float32[batch, 4] to y."""
    graph = helper.make_graph(
        list(nodes),
        "beside",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return open_session(proto.SerializeToString())


def rows(count: int = 300) -> dict[str, Any]:
    return {"x": np.random.default_rng(1).normal(size=(count, 4)).astype("float32")}


def own() -> Any:
    return session(helper.make_node("Tanh", ["x"], ["y"]))


def by_the_mean() -> Any:
    """What batch normalisation without statistics of its own does."""
    mean = helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1)
    return session(mean, helper.make_node("Sub", ["x", "mean"], ["y"]), axis=np.array([0]))


def by_the_scale() -> Any:
    """What dynamic quantisation does: eight bits between the smallest and the largest number of the batch."""
    return session(
        helper.make_node("DynamicQuantizeLinear", ["x"], ["eight", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["eight", "scale", "zero"], ["y"]),
    )


@pytest.mark.parametrize("workload", [CLASSES, NUMBERS])
def test_a_model_that_looks_at_each_row_alone_changes_nothing(workload: Any) -> None:
    measured = measure_company(own(), rows(), workload)
    assert measured == Company(rows=200, max_abs=0.0, changed=0.0)


@pytest.mark.parametrize("workload", [CLASSES, NUMBERS])
def test_one_that_takes_a_mean_over_the_batch_is_seen(workload: Any) -> None:
    measured = measure_company(by_the_mean(), rows(), workload)
    assert measured.changed > 0.5 and measured.max_abs > 0.5


def test_tags_behind_a_rows_end_count_as_no_answer() -> None:
    """What stands there flips with anything: it is nobody's answer, and nothing is scored on it."""
    tags = toy(kind=None, target=None, goal=Tag("tags", length=3))
    target, logits = np.array([[0, 1, -100], [1, 1, 1]]), np.zeros((2, 3, 2), "float32")
    other = logits.copy()
    other[:, 2, 1] = 1
    said = [decisions(tags, outputs, targets=(target,)) for outputs in (logits, other)]
    assert tags.goals[0].answer.moved(said[0][0], said[1][0]).tolist() == [False, True]
    shorter = decisions(tags, logits[:1, :2], targets=(target,))[0]
    assert shorter["code"].tolist() == [[0, 0]]


def test_so_is_a_scale_over_the_batch_whichever_answers_it_moves() -> None:
    assert measure_company(by_the_scale(), rows(), CLASSES).max_abs > 1e-3
    assert measure_company(by_the_scale(), rows(), NUMBERS).changed > 0


class Counted:
    """A session, and how many rows it was asked."""

    def __init__(self, session: Any) -> None:
        self.session, self.rows = session, 0

    def get_outputs(self) -> Any:
        return self.session.get_outputs()

    def run(self, names: Any, feed: dict[str, Any]) -> Any:
        self.rows += len(feed["x"])
        return self.session.run(names, feed)


def test_what_three_companies_do_not_move_is_asked_in_no_more() -> None:
    counts = {}
    for model in (own, by_the_scale):
        counted = Counted(model())
        measure_company(counted, rows(), NUMBERS)  # type: ignore[arg-type]
        counts[model] = counted.rows
    assert counts == {own: 200 * (1 + 3), by_the_scale: 200 * (1 + 9)}


@given(st.integers(1, 30))
def test_any_number_of_rows_is_measured(count: int) -> None:
    assert measure_company(own(), rows(count), CLASSES).rows == count


def report(changed: float, name: str = "fp32", score: float = 0.98) -> Report:
    company = Company(rows=200, max_abs=0.1, changed=changed)
    return Report(
        name=name, split="validation", rows=300, score=score, score_name="accuracy", sha256="0", size_bytes=10,
        company=company,
    )  # fmt: skip


def test_a_candidate_that_answers_by_its_company_is_refused_with_its_numbers() -> None:
    chosen: Selection = select([report(0.0), report(0.025, "int8-dynamic")], (), Gates())
    (refused,) = [result for result in chosen.candidates if result.status == "refused"]
    assert refused.name == "int8-dynamic" and chosen.picked == "fp32"
    assert refused.reasons == (
        "2.5% of 200 rows are answered otherwise when other rows come with them, over the 1.0% allowed (gates.max_company_change): "
        "dynamic quantisation and normalisation over a batch do that, static quantisation does not",
    )
    assert list(beside_others(report(0.025), Gates(max_company_change=0.03))) == []


def test_so_is_fp32_by_the_gate() -> None:
    measured = report(0.5)
    verdict = gate(measured, measured, None, None, None, Gates())
    assert verdict.decision == "fail" and "answered otherwise" in verdict.reasons[0]


def test_what_tracing_may_have_frozen_is_a_persons_to_let_through() -> None:
    finding = "mine.py:23 was traced with a fixed value: is it a decision by the data?"
    measured = report(0.0).model_copy(update={"findings": (finding,)})
    verdict = gate(measured, measured, None, None, None, Gates())
    assert verdict.decision == "inconclusive" and verdict.reasons[0] == finding


def test_what_the_quantiser_makes_of_a_dense_layer_changes_answers_and_the_layer_does_not(
    tmp_path: Path,
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    weights = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "dense.onnx",
    )
    quantize_dynamic(tmp_path / "dense.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    dense = measure_company(open_session(tmp_path / "dense.onnx"), rows(), CLASSES)
    int8 = measure_company(open_session(tmp_path / "int8.onnx"), rows(), CLASSES)
    assert dense.changed == 0 and dense.max_abs < 1e-5 < int8.max_abs and int8.changed > 0


def test_a_text_alone_is_padded_less_than_beside_a_long_one(reads_dataset: Dataset) -> None:
    """The mean over the padding too: it changes with whoever comes along, and nothing does that leaves the padding out."""
    cast = helper.make_node("Cast", ["attention_mask"], ["there"], to=TensorProto.FLOAT)
    measured = {}
    for kind in ("ReduceMean", "ReduceSum"):
        nodes = [cast, helper.make_node(kind, ["there", "axis"], ["logit"], keepdims=1)]
        nodes.append(helper.make_node("Sub", ["logit", "half"], ["logits"]))
        integers = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ]
        others = [
            helper.make_tensor_value_info("plan", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["batch", 2]),
        ]
        weights = [
            numpy_helper.from_array(np.array([1]), "axis"),
            numpy_helper.from_array(np.array(0.5, "float32"), "half"),
        ]
        answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
        graph = helper.make_graph(nodes, "beside", [*integers, *others], [answer], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        session, asked = open_session(model.SerializeToString()), asked_rows(reads_dataset, "test", 40)
        workload = replace(CLASSES, output="logits")
        inputs = {name: array[:40] for name, array in read_split(reads_dataset, "test").inputs.items()}
        measured[kind] = measure_company(session, inputs, workload, asked=asked)
    assert measured["ReduceMean"].changed > 0.1 and measured["ReduceSum"].max_abs == 0
