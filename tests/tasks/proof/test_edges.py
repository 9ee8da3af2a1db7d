"""Rows at the edges are asked, in every split: what answers NaN to an empty text is refused, whichever rows are scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tasks.data.arrays import Samples
from tasks.onnx.session import open_session
from tasks.proof.edges import problems_at_edges, problems_with_odd_values, rows_to_ask
from tasks.records import Dataset, TensorSpec

Array = np.ndarray[Any, Any]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 99), st.integers(2, 9))
def test_the_edges_are_among_the_rows_that_are_asked(count: int, seed: int, width: int) -> None:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, width)).astype("float32")
    tokens = np.where(
        np.arange(width) < random.integers(0, width + 1, (count, 1)), random.integers(1, 9, (count, width)), 0
    )
    rows = rows_to_ask(Samples({"numbers": numbers, "tokens": tokens}, np.zeros(count)))
    assert len(rows) == len(set(rows)) and len(rows) <= 256 + 16 and rows.min() >= 0 and rows.max() < count
    for reached, all_of in (
        (numbers[rows].min(), numbers.min()),
        (numbers[rows].max(), numbers.max()),
        ((tokens[rows] != 0).sum(1).min(), (tokens != 0).sum(1).min()),
        ((tokens[rows] != 0).sum(1).max(), (tokens != 0).sum(1).max()),
    ):
        assert reached == all_of


def mean_of_tokens() -> bytes:
    """The mean of what is not padding: 0/0 of an empty row; and beside it, an output that always is finite."""
    nodes = [
        helper.make_node("Cast", ["tokens"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sign", ["numbers"], ["there"]),
        helper.make_node("ReduceSum", ["there", "axis"], ["count"], keepdims=1),
        helper.make_node("ReduceSum", ["numbers", "axis"], ["total"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
    ]
    graph = helper.make_graph(
        nodes, "mean",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 5])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1]) for name in ("total", "mean")],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def dataset_of(folder: Path, empty_in: str) -> Dataset:
    random = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        tokens = random.integers(1, 9, (700, 5))
        if split == empty_in:
            tokens[619] = 0
        (folder / split).mkdir(parents=True)
        np.save(folder / split / "tokens.npy", tokens)
        np.save(folder / split / "target.npy", np.zeros(700))
    spec = TensorSpec(name="tokens", dtype="int64", shape=("batch", 5))
    return Dataset(
        workload="toy", folder=folder, fingerprint="f", rows=dict.fromkeys(("train", "validation", "test"), 700),
        inputs=(spec,), target=spec, classes=None, newest=None, arrays_sha256="a",
    )  # fmt: skip


@pytest.mark.parametrize("split", ["train", "validation", "test", "none"])
def test_a_row_that_gets_nan_is_found_in_whichever_split_it_is(tmp_path: Path, split: str) -> None:
    problems = [*problems_at_edges(open_session(mean_of_tokens()), dataset_of(tmp_path, split))]
    if split == "none":
        assert problems == []
    else:
        (said,) = problems
        assert "1 of " in said and f" {split} rows" in said and "is not a finite number (row 619)" in said


def test_rows_that_the_runtime_does_not_take_are_said(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, "none")
    np.save(tmp_path / "train" / "tokens.npy", np.ones((700, 4), "int64"))
    (said,) = problems_at_edges(open_session(mean_of_tokens()), dataset)
    assert "train rows that were asked" in said and "get no answer: " in said and "\n" not in said


def test_a_text_without_letters_is_asked_though_no_row_is_one(reads_dataset: Dataset) -> None:
    """The mean of the numbers between [CLS] and [SEP]: 0/0 of an empty text."""
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["there", "axis"], ["count"], keepdims=0),
        helper.make_node("Sub", ["count", "two"], ["words"]),
        helper.make_node("Div", ["words", "words"], ["mean"]),
        *(
            helper.make_node("Identity", [name], [f"{name}_again"])
            for name in ("input_ids", "plan", "numbers")
        ),
    ]
    shapes: dict[str, tuple[int, list[str | int]]] = {
        "input_ids": (TensorProto.INT64, ["batch", "length"]), "attention_mask": (TensorProto.INT64, ["batch", "length"]),
        "plan": (TensorProto.INT64, ["batch"]), "numbers": (TensorProto.FLOAT, ["batch", 2]),
    }  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch"])]
    weights = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
    ]
    graph = helper.make_graph(nodes, "mean", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = open_session(bytes(model.SerializeToString()))
    assert [*problems_with_odd_values(session, reads_dataset)] == [
        "'gloss' of no letters gets an answer that is not a finite number",
        "'gloss' of a blank gets an answer that is not a finite number",
    ]
