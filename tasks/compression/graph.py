"""ONNX graphs before and after a method: made ready, counted, and given back what a tool dropped."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.onnx.origin import remove_origin
from tasks.system.files import write_atomically

if TYPE_CHECKING:
    import onnx


WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
"""Op types with weights that static quantisation is for."""


def prepare(source: Path, folder: Path) -> Path:
    """`source` with constants folded, batch norms fused and every node named: what a quantiser works best on.

    Only ONNX Runtime's basic level, which is the same on every processor. The exporter's shapes go first: quantising
    a dynamo export fails on them.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    proto = onnx.load(source)
    del proto.graph.value_info[:]
    target = folder / "prepared.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(target)
    del proto.graph.value_info[:]
    _name_nodes(proto)
    _flatten_biases(proto)
    add_pre_process_metadata(proto)
    onnx.save(proto, target)
    return target


def _flatten_biases(proto: "onnx.ModelProto") -> None:
    """A Gemm's bias of shape [1, n], as TensorFlow's exporter writes it, as [n]: ONNX Runtime's quantiser (1.31) knows no other."""
    biases = {node.input[2] for node in proto.graph.node if node.op_type == "Gemm" and len(node.input) == 3}
    others = {
        name
        for node in proto.graph.node
        for place, name in enumerate(node.input)
        if node.op_type != "Gemm" or place != 2
    }
    for tensor in proto.graph.initializer:
        if tensor.name in biases - others and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]


def weighted(proto: "onnx.ModelProto", op_types: Iterable[str]) -> list["onnx.NodeProto"]:
    """The nodes of these types that hold constant weights."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [
        node for node in proto.graph.node if node.op_type in op_types and not constants.isdisjoint(node.input)
    ]


def has_attention(proto: "onnx.ModelProto") -> bool:
    """Whether two computed tensors are multiplied as matrices: with a mask of −inf near, ranges cannot be calibrated."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    return any(node.op_type == "MatMul" and constants.isdisjoint(node.input) for node in proto.graph.node)


def quantized_nodes(proto: "onnx.ModelProto") -> int:
    """How many nodes work on 8-bit numbers, or read weights that are kept as such."""
    return sum("Quantize" in node.op_type or node.op_type.endswith("Integer") for node in proto.graph.node)


def write_with_metadata(source: Path, target: Path, metadata: dict[str, str]) -> None:
    """Write `source` to `target` with `metadata` (model, data, recipe) in place of what tools left; atomic."""
    import onnx

    proto = onnx.load(source)
    remove_origin(proto)
    onnx.helper.set_model_props(proto, dict(sorted(metadata.items())))
    onnx.checker.check_model(proto)
    write_atomically(target, proto.SerializeToString(deterministic=True))


def metadata_of(path: Path) -> dict[str, str]:
    import onnx

    return {prop.key: prop.value for prop in onnx.load(path, load_external_data=False).metadata_props}


def _name_nodes(proto: "onnx.ModelProto") -> None:
    seen: set[str] = set()
    for index, node in enumerate(proto.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)
