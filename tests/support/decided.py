"""Small graphs with the decision's nodes behind them, as the file that ships has them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.goals.heads import Head, many, one

WORDS = ("a", "bé", "", "日本", "e")


def decided(
    kind: Callable[..., Head] | None = one, limits: Any = None, *, given: bool = True, wide: int = 64
) -> bytes:
    """x float32[batch, 16] → logits [batch, 5], with `kind` of head: label and probability, and the logits where `given`."""
    random = np.random.default_rng(0)
    sizes = {"w": (16, wide), "w2": (wide, len(WORDS))}
    weights = [
        numpy_helper.from_array(random.normal(0, 0.2, size).astype("float32"), name)
        for name, size in sizes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["rectified"]),
        helper.make_node("MatMul", ["rectified", "w2"], ["logits"]),
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(WORDS)])
    outputs = [logits] if given else []
    if kind is not None:
        head = kind("logits", ("batch", len(WORDS)), ("label", "probability"), WORDS, limits)
        nodes += head.nodes
        weights += head.constants
        outputs = [*head.outputs, *outputs]
    return _file(
        nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])], outputs, weights
    )


def looked_up() -> bytes:
    """words int64[batch, length] → y float32[batch, length, 4], from a table of ten rows."""
    table = numpy_helper.from_array(np.random.default_rng(0).normal(size=(10, 4)).astype("float32"), "table")
    words = helper.make_tensor_value_info("words", TensorProto.INT64, ["batch", "length"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 4])
    nodes = [
        helper.make_node("Identity", ["words"], ["same"]),
        helper.make_node("Gather", ["table", "same"], ["y"]),
    ]
    return _file(nodes, [words], [y], [table])


def spoken() -> bytes:
    """A graph with text where it computes: Where between two words."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])
    y = helper.make_tensor_value_info("y", TensorProto.STRING, ["batch"])
    words = [helper.make_tensor(name, TensorProto.STRING, [], [name.encode()]) for name in ("yes", "no")]
    zero = numpy_helper.from_array(np.array(0, "float32"), "zero")
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["more"]),
        helper.make_node("Where", ["more", "yes", "no"], ["y"]),
    ]
    return _file(nodes, [x], [y], [*words, zero])


def _file(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


__all__ = ["WORDS", "decided", "looked_up", "many", "one", "spoken"]
