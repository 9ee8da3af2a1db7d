"""Where a graph looks rows up, and how it is known beforehand that there are such rows.

An index that a table does not have is an error in ONNX Runtime; OpenVINO answers with zeros, or with what lies in memory there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import onnx

from tasks.errors import UserError

_LOOKUPS = ("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND")

_PASSED_ON = ("Cast", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")  # fmt: skip
"""What gives nothing but numbers of its first input."""

_WHOLE = {onnx.TensorProto.DataType.Value(name) for name in "BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64".split()}  # fmt: skip

_WIDTH = 2**31
"""OpenVINO computes whole numbers in 32 bits."""

_UNKNOWN = (
    "is of an index that is not known before the graph runs, and OpenVINO refuses no row that a table has not"
)


class Lookups(NamedTuple):
    """`tables`: by input, the length of the smallest table that its numbers, all below it then, are looked up in.

    `guard`: what computes the other indices, of whole numbers, as a file that takes `given`. `lengths`: of the tables that its
    outputs are looked up in; 0 for an output that is the lookup itself, which ONNX Runtime refuses to run without such rows.
    """

    tables: dict[str, int]
    guard: bytes | None = None
    given: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()


def lookups_of(proto: onnx.ModelProto) -> Lookups:
    """Of all lookups. Raises UserError where nothing is known of an index before the graph runs."""
    _refuse_inner(proto)
    graph = _Graph(proto)
    tables: dict[str, int] = {}
    guarded: dict[str, int] = {}
    for node in (node for node in proto.graph.node if node.op_type in _LOOKUPS):
        origin, length = graph.origin(node.input[1]), graph.length(node)
        if origin in graph.inputs and length:
            tables[origin] = min(length, tables.get(origin, length))
        elif not graph.has(
            origin, length or 1
        ):  # the first and the last are there wherever there is anything
            name = node.input[1] if length else node.output[0]
            guarded[name] = min(length, guarded.get(name, length))
    if not guarded:
        return Lookups(tables)
    guard, given = graph.part(list(guarded))
    whole = {name: _WIDTH for name in given if graph.types.get(name) in _WHOLE}
    return Lookups({**whole, **tables}, guard, given, tuple(guarded.values()))


def _refuse_inner(proto: onnx.ModelProto) -> None:
    inner = [a.g for node in proto.graph.node for a in node.attribute if a.HasField("g")]
    if any(node.op_type in _LOOKUPS for part in (*inner, *proto.functions) for node in part.node):
        raise UserError(f"what a graph within the graph looks up {_UNKNOWN}")


class _Graph:
    """What a graph says of its tensors without being run."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, graph = proto, proto.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        said = {node.output[0]: node.attribute[0] for node in graph.node if node.op_type == "Constant"}
        self.constants |= {name: attribute.t for name, attribute in said.items() if attribute.name == "value"}
        self.inputs = {value.name: value for value in graph.input if value.name not in self.constants}
        self.made = {name: node for node in graph.node for name in node.output}
        known = onnx.shape_inference.infer_shapes(proto).graph
        told = (*known.input, *known.value_info, *known.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in told}
        self.shapes = {value.name: value.type.tensor_type.shape.dim for value in told}

    def origin(self, name: str) -> str:
        """The tensor that has all of its numbers."""
        while name in self.made and self.made[name].op_type in _PASSED_ON:
            name = self.made[name].input[0]
        return name

    def length(self, node: onnx.NodeProto) -> int:
        """Of the axis that it looks along; 0 where that hangs on the rows, and for the kinds that have several."""
        table = self.constants.get(node.input[0])
        sizes = [d.dim_value for d in self.shapes.get(node.input[0], ())] if table is None else table.dims
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return sizes[axis] if sizes and not node.op_type.endswith("ND") else 0

    def has(self, origin: str, length: int) -> bool:
        """Whether it is a constant, all of whose numbers are rows of a table of this length."""
        if origin not in self.constants:
            return False
        values = onnx.numpy_helper.to_array(self.constants[origin])
        return not values.size or bool(-length <= values.min() and values.max() < length)

    def part(self, wanted: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
        """What gives these tensors, as a file, and the inputs that it takes."""
        needed = self._behind(wanted)
        nodes = [node for node in self.proto.graph.node if node.output[0] in needed]
        taken = {*wanted, *(name for node in nodes for name in node.input)}
        inputs = [value for name, value in self.inputs.items() if name in taken]
        outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
        constants = [_named(self.constants[name], name) for name in sorted(taken & self.constants.keys())]
        graph = onnx.helper.make_graph(nodes, "look", inputs, outputs, constants)
        opsets, version = self.proto.opset_import, self.proto.ir_version
        file = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=version)
        return file.SerializeToString(), tuple(value.name for value in inputs)

    def _behind(self, wanted: Sequence[str]) -> set[str]:
        """The first outputs of the nodes that these hang on; UserError where those take fractions, which engines round."""
        needed: set[str] = set()
        waiting = [self.made[name] for name in wanted if name in self.made]
        while waiting:
            node = waiting.pop()
            needed.add(node.output[0])
            for name in (name for name in node.input if name and name not in self.constants):
                sized = node.op_type in ("Shape", "Size") and name in self.inputs
                if not sized and self.types.get(name) not in _WHOLE:
                    raise UserError(f"{node.op_type} {node.name!r} {_UNKNOWN}")
                if name in self.made and self.made[name].output[0] not in needed:
                    waiting.append(self.made[name])
        return needed


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    """As an initializer: what a Constant node holds has another name, or none."""
    named = onnx.TensorProto()
    named.CopyFrom(tensor)
    named.name = name
    return named
