"""What a graph says of where it was made, wherever it says it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.onnx.origin import remove_origin
from tasks.onnx.session import open_session
from tasks.system.protobuf import messages

PLACE = "/home/somebody/mine.py:23"


def noted() -> onnx.ModelProto:
    """A branch with graphs of its own, and a note at everything that takes one."""
    shape = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    inner = [
        helper.make_graph([helper.make_node(kind, ["x"], ["y"])], kind, [], [shape])
        for kind in ("Relu", "Neg")
    ]
    node = helper.make_node("If", ["yes"], ["y"], then_branch=inner[0], else_branch=inner[1])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(
        [node], "main", [value], [shape], [numpy_helper.from_array(np.array(True), "yes")]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for message in messages(proto):
        fields = message.DESCRIPTOR.fields_by_name
        if "doc_string" in fields:
            message.doc_string = PLACE
        if "metadata_props" in fields and not message.metadata_props:
            message.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=PLACE)
    return proto


def test_no_note_of_a_place_is_left_at_any_node_tensor_or_inner_graph_and_the_answers_are_the_same() -> None:
    proto = noted()
    assert proto.SerializeToString().count(PLACE.encode()) > 10
    rows = {"x": np.array([[1.0, -2.0]], "float32")}
    before = open_session(proto.SerializeToString()).run(None, rows)[0]
    remove_origin(proto)
    assert PLACE.encode() not in proto.SerializeToString()
    assert (open_session(proto.SerializeToString()).run(None, rows)[0] == before).all()
