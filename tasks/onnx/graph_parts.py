"""A file's graph in two: what computes, and the nodes behind it that decide, whose words are ONNX Runtime's alone.

OpenVINO 2026.4 runs `Where` on text without an error and gives an empty tensor: it gets no text to see.
"""

from typing import NamedTuple

import onnx

from tasks.errors import UserError
from tasks.goals.heads import PREFIX
from tasks.onnx.lookups import Lookups, lookups_of


class Parts(NamedTuple):
    """`trunk` gives `between`, which `decision` takes; None where the outputs are the trunk's own."""

    trunk: bytes
    decision: bytes | None
    between: tuple[str, ...]
    lookups: Lookups


def parts_of(content: bytes) -> Parts:
    """The file apart. Raises UserError for one that has text where it computes, or looks up what may not be there."""
    proto = onnx.load_model_from_string(content)
    nodes = [node for node in proto.graph.node if node.name.startswith(PREFIX)]
    decision: bytes | None = None
    between: tuple[str, ...] = ()
    if nodes:
        decision, between = _decision(proto, nodes)
        _leave_trunk(proto.graph, between)
    if _has_text(proto.graph):
        raise UserError("it has text inside, which ONNX Runtime alone runs rightly")
    return Parts(proto.SerializeToString(), decision, between, lookups_of(proto))


def _decision(proto: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> tuple[bytes, tuple[str, ...]]:
    """The nodes that decide as a file of their own, and what it takes, as float32 of any shape."""
    made = {name for node in nodes for name in node.output}
    constants = [tensor for tensor in proto.graph.initializer if tensor.name.startswith(PREFIX)]
    given = made | {tensor.name for tensor in constants}
    taken = dict.fromkeys(name for node in nodes for name in node.input if name and name not in given)
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in taken]
    outputs = [value for value in proto.graph.output if value.name in made]
    graph = onnx.helper.make_graph(nodes, "decide", inputs, outputs, constants)
    file = onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    return file.SerializeToString(), tuple(taken)


def _leave_trunk(graph: onnx.GraphProto, between: tuple[str, ...]) -> None:
    """What computes alone; it also gives what is decided of."""
    kept = [node for node in graph.node if not node.name.startswith(PREFIX)]
    constants = [tensor for tensor in graph.initializer if not tensor.name.startswith(PREFIX)]
    made = {name for node in kept for name in node.output}
    outputs = [value for value in graph.output if value.name in made]
    there = {value.name for value in outputs}
    outputs += [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in between
        if name not in there
    ]
    for field, values in (("node", kept), ("initializer", constants), ("output", outputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)


def _has_text(graph: onnx.GraphProto) -> bool:
    values = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)]
    constants = [tensor.data_type for tensor in graph.initializer]
    attributes = [a for node in graph.node for a in node.attribute]
    constants += [a.t.data_type for a in attributes if a.type == onnx.AttributeProto.TENSOR]
    return onnx.TensorProto.STRING in {*values, *constants} or any(a.strings for a in attributes)
