"""Decisions as ONNX nodes: behind a model's own output, so that one digest covers what is said, and any runtime says it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import onnx

Axes = tuple[int | str, ...]

PREFIX = "decide/"
"""What the names of these nodes, and of their constants, begin with."""


class Head(NamedTuple):
    """What is appended to a graph: nodes with their constants, and the outputs that they give."""

    nodes: "list[onnx.NodeProto]"
    constants: "list[onnx.TensorProto]"
    outputs: "list[onnx.ValueInfoProto]"


class Wires:
    """Nodes behind one output, each of a name that no exporter gives."""

    def __init__(self, output: str) -> None:
        self.prefix = f"{PREFIX}{output}"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Its name."""
        import onnx

        name = f"{self.prefix}/constant_{len(self.constants)}"
        if dtype is str:
            words = np.array(value, dtype=object)
            made = onnx.helper.make_tensor(
                name, onnx.TensorProto.STRING, words.shape, [word.encode() for word in words.ravel().tolist()]
            )
        else:
            made = onnx.numpy_helper.from_array(np.array(value, dtype), name)
        self.constants.append(made)
        return name

    def node(
        self, kind: str, *inputs: str, to: str | tuple[str, ...] | None = None, **attributes: Any
    ) -> str:
        """The name of what it gives, or of the first of several."""
        import onnx

        names = (to,) if isinstance(to, str) else to or (f"{self.prefix}/{kind}_{len(self.nodes)}",)
        self.nodes.append(
            onnx.helper.make_node(
                kind, [*inputs], [*names], name=f"{self.prefix}/{len(self.nodes)}", **attributes
            )
        )
        return names[0]

    def head(self, outputs: Sequence[tuple[str, bool, Axes]]) -> Head:
        """With outputs (name, whether it is text, shape)."""
        import onnx

        kinds = {True: onnx.TensorProto.STRING, False: onnx.TensorProto.FLOAT}
        infos = [onnx.helper.make_tensor_value_info(name, kinds[text], axes) for name, text, axes in outputs]
        return Head(self.nodes, self.constants, infos)


def one(output: str, axes: Axes, served: Sequence[str], words: Sequence[str], limits: Any) -> Head:
    """Softmax, the largest, its word; below its class's threshold the word is ""."""
    label, probability = served
    wires, logits = Wires(output), output
    if len(axes) < 2 or axes[1] == 1:  # one logit: the first class has the other side of zero
        column = wires.node("Reshape", logits, wires.constant([-1, 1], "int64"))
        zeros = wires.node("Sub", column, column)
        logits, axes = wires.node("Concat", zeros, column, axis=1), (axes[0], 2)
    shares = wires.node("Softmax", logits, to=probability, axis=-1)
    named = wires.constant(words, str)
    if limits is None:
        wires.node("Gather", named, wires.node("ArgMax", logits, axis=-1, keepdims=0), to=label)
    else:
        last = wires.constant([1], "int64")
        highest, code = f"{wires.prefix}/highest", f"{wires.prefix}/code"
        wires.node("TopK", shares, last, to=(highest, code), axis=-1)
        least = wires.node("Gather", wires.constant(limits, "float32"), code)
        likely = wires.node("GreaterOrEqual", highest, least)
        word = wires.node("Where", likely, wires.node("Gather", named, code), wires.constant("", str))
        wires.node("Squeeze", word, last, to=label)
    return wires.head([(label, True, axes[:-1]), (probability, False, axes)])


def many(output: str, axes: Axes, served: Sequence[str], words: Sequence[str], limits: Any) -> Head:
    """Sigmoid, and the word of each label whose probability is at least its threshold, else ""."""
    label, probability = served
    wires = Wires(output)
    shares = wires.node("Sigmoid", output, to=probability)
    there = wires.node("GreaterOrEqual", shares, wires.constant(limits, "float32"))
    wires.node("Where", there, wires.constant(words, str), wires.constant("", str), to=label)
    return wires.head([(label, True, axes), (probability, False, axes)])
