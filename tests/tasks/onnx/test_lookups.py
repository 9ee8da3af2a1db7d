"""Rows that a table does not have: refused in OpenVINO as in ONNX Runtime, or else the file is ONNX Runtime's alone."""

from typing import Any

import numpy as np
import onnx
import pytest
from engines_here import asked
from onnx import TensorProto, helper, numpy_helper

from tasks.engines import Engine
from tasks.errors import UserError
from tasks.onnx.engines import open_in
from tasks.onnx.lookups import Lookups, lookups_of

FP32 = Engine.parse("openvino:fp32")

TABLE = np.random.default_rng(0).normal(2, 0.1, (10, 4)).astype("float32")

NUMBERS = {
    "table": TABLE,
    "bytes": (TABLE * 50).astype("uint8"),
    "scale": np.float32(0.02),
    "zero": np.array(0),
    "one": np.array(1),
    "five": np.array(5),
    "ten": np.array(10),
    "flat": np.array([-1]),
    "places": np.arange(10)[None],
    "far": np.arange(20)[None],
    "axis": np.array([1]),
    "start": np.array([0]),
}

Nodes = list[tuple[str, str, str]]
"""What, of which, to which."""


def graph(nodes: Nodes, **told: Any) -> onnx.ModelProto:
    """words int64[batch, length] → y, by nodes that look rows up."""
    made = [helper.make_node(op, taken.split(), [given], **told.get(given, {})) for op, taken, given in nodes]
    used = {name for node in made for name in node.input}
    constants = [numpy_helper.from_array(array, name) for name, array in NUMBERS.items() if name in used]
    words = helper.make_tensor_value_info("words", TensorProto.INT64, ["batch", "length"])
    y = onnx.ValueInfoProto(name="y")
    proto = helper.make_model(
        helper.make_graph(made, "g", [words], [y], constants), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )  # fmt: skip
    return onnx.shape_inference.infer_shapes(proto)


def _with_constant(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`five` from a node, as some exporters have it."""
    (five,) = [tensor for tensor in proto.graph.initializer if tensor.name == "five"]
    proto.graph.initializer.remove(five)
    five.name = "value of five"
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["five"], value=five))
    return proto


SIZE: Nodes = [("Shape", "words", "shape"), ("Gather", "shape one", "size")]

CHECKED = {
    "as it came": graph([("Gather", "table words", "y")]),
    "in another form": graph([("Reshape", "words flat", "i"), ("Gather", "table i", "y")]),
    "in a table of 8 bits": graph([("DequantizeLinear", "bytes scale", "t"), ("Gather", "t words", "y")]),
    "moved on": graph([("Add", "words five", "i"), ("Gather", "table i", "y")]),
    "moved on by a node's constant": _with_constant(graph([("Add", "words five", "i"), ("Gather", "table i", "y")])),
    "of a product": graph([("Mul", "words ten", "i"), ("Gather", "table i", "y")]),
    "by place": graph([*SIZE, ("Range", "zero size one", "i"), ("Gather", "table i", "y")]),
    "in the words": graph([("GatherElements", "words words", "y")], y={"axis": 1}),
    "of a table's places": graph(
        [*SIZE, ("Unsqueeze", "size start", "end"), ("Slice", "far start end axis", "i"), ("Gather", "table i", "y")]
    ),
}  # fmt: skip


def _answer(session: Any, words: Any) -> Any:
    try:
        return session.run(None, {"words": words})[0]
    except Exception as error:
        return type(error)


@pytest.mark.slow
@pytest.mark.parametrize("how", CHECKED)
@pytest.mark.parametrize(
    "words",
    [
        np.array([[0, 1, 2], [2, 1, 0]]),
        np.full((2, 3), 4),
        np.full((2, 3), 9),
        np.full((2, 3), 10),
        np.full((2, 3), 2**32),
        np.full((2, 3), -11),
        np.zeros((2, 13), "int64"),
        np.zeros((2, 0), "int64"),
    ],
)
def test_a_row_that_is_not_there_is_refused_as_onnx_runtime_refuses_it(how: str, words: Any) -> None:
    content = CHECKED[how].SerializeToString()
    ours, theirs = (_answer(open_in(each, content), words) for each in (FP32, Engine()))
    if isinstance(theirs, type):
        assert ours is theirs
    else:
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("how", CHECKED)
def test_rows_that_are_there_are_openvinos(how: str) -> None:
    """Or else what is looked at beforehand could refuse all."""
    words = (
        np.zeros((2, 3), "int64")
        if how in ("in the words", "of a product")
        else np.array([[0, 1, 2], [2, 1, 0]])
    )
    with asked() as batches:
        open_in(FP32, CHECKED[how].SerializeToString()).run(None, {"words": words})
    assert len(batches) == 1


def test_rows_that_are_there_are_openvinos_where_the_input_or_the_file_says_it() -> None:
    for how in ("as it came", "in another form", "in a table of 8 bits"):
        assert lookups_of(CHECKED[how]) == Lookups({"words": 10})
    within = [*SIZE, ("Unsqueeze", "size start", "end"), ("Slice", "places start end axis", "i")]
    assert lookups_of(graph([*within, ("Gather", "table i", "y")])) == Lookups({})
    first = graph([("Cast", "words", "x"), ("Gather", "x zero", "y")], x={"to": TensorProto.FLOAT})
    assert lookups_of(first) == Lookups({})


@pytest.mark.parametrize(
    "nodes, told",
    [
        ([("Cast", "words", "x"), ("Gather", "x five", "y")], {"x": {"to": TensorProto.FLOAT}, "y": {"axis": 1}}),
        (
            [("Cast", "words", "x"), ("Mul", "x scale", "m"), ("Cast", "m", "i"), ("Gather", "table i", "y")],
            {"x": {"to": TensorProto.FLOAT}, "i": {"to": TensorProto.INT64}},
        ),
    ],
)  # fmt: skip
def test_a_file_whose_rows_nobody_knows_beforehand_is_not_offered_to_openvino(
    nodes: Nodes, told: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="is of an index that is not known before the graph runs"):
        open_in(FP32, graph(nodes, **told).SerializeToString())


def test_a_lookup_in_a_graph_within_the_graph_is_onnx_runtimes_alone() -> None:
    y = onnx.ValueInfoProto(name="y")
    inner = helper.make_graph([helper.make_node("Gather", ["table", "words"], ["inner"])], "then", [], [onnx.ValueInfoProto(name="inner")])  # fmt: skip
    proto = graph([("Gather", "table words", "y")])
    sure = numpy_helper.from_array(np.array(True), "sure")
    proto.graph.initializer.append(sure)
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node("If", ["sure"], [y.name], then_branch=inner, else_branch=inner))
    with pytest.raises(UserError, match="a graph within the graph looks up is of an index"):
        lookups_of(proto)
