"""What a quantiser writes beside the weights, folded: in a small model its names and constants weigh as much as they do."""

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_Content = tuple[int, tuple[int, ...], tuple[bytes, ...]]

_ADDED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def fold(path: Path, source: Path) -> None:
    """Rewrite `path`, made of `source` by a quantiser: each constant once, no zero that is implied, short names for what it added.

    Answers stay the same to the bit and kernels are fused as before. A graph with graphs within keeps its names, which those may use.
    """
    import onnx

    proto, before = onnx.load(path), onnx.load(source)
    del proto.graph.value_info[:]
    if not any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        _drop_implied_zeros(proto)
        _share_constants(proto)
        _shorten(proto, _names(before))
    used = {node.domain for node in _nodes(proto)}
    kept = [opset for opset in proto.opset_import if opset.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    onnx.save(proto, path)


def _drop_implied_zeros(proto: "onnx.ModelProto") -> None:
    """Of biases, which are 32 bits wide. Those of 8 bits stay: ONNX Runtime (1.31) fuses a Gemm only when it sees them."""
    from onnx import TensorProto, numpy_helper

    zeros = {
        tensor.name
        for tensor in proto.graph.initializer
        if tensor.data_type == TensorProto.INT32 and not numpy_helper.to_array(tensor).any()
    }
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 3 and node.input[2] in zeros:
            del node.input[2]


def _share_constants(proto: "onnx.ModelProto") -> None:
    first: dict[_Content, str] = {}
    same: dict[str, str] = {}
    for tensor in proto.graph.initializer:
        same[tensor.name] = first.setdefault(_content(tensor), tensor.name)
    for node in proto.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    needed = {name for node in proto.graph.node for name in node.input} | {v.name for v in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in needed]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def _content(tensor: "onnx.TensorProto") -> _Content:
    """Words as they are: an array of them has their addresses."""
    from onnx import numpy_helper

    numbers = b"" if tensor.string_data else numpy_helper.to_array(tensor).tobytes()
    return tensor.data_type, tuple(tensor.dims), (*tensor.string_data, numbers)


def _shorten(proto: "onnx.ModelProto", layers: set[str]) -> None:
    """Names that the quantiser made, in the order of the nodes; those of the layers and their weights stay as people know them."""
    public = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    kept = {"", *public, *(name for name in _names(proto) if name.removesuffix("_quantized") in layers)}
    unused, short = (name for number in count() if (name := f"q{number}") not in kept), dict[str, str]()

    def shortened(name: str) -> str:
        if name not in kept and name not in short:
            short[name] = next(unused)
        return name if name in kept else short[name]

    for node in proto.graph.node:
        node.input[:] = map(shortened, node.input)
        node.output[:] = map(shortened, node.output)
        if node.op_type in _ADDED:
            node.name = ""
    for tensor in proto.graph.initializer:
        tensor.name = shortened(tensor.name)


def _names(proto: "onnx.ModelProto") -> set[str]:
    tensors = {tensor.name for tensor in proto.graph.initializer}
    return tensors | {name for node in proto.graph.node for name in (*node.input, *node.output)}


def _nodes(proto: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    """With those of the functions that the file brings along."""
    return [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
