"""What a decision costs in the file: the same model with and without its nodes, in one process, side by side.

Each answer at its usual size, at batch 1 and 64, one thread; lower quartiles of interleaved rounds, in microseconds.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from figures import published, table
from onnx import TensorProto, helper, numpy_helper

from tasks.goals.words import Each, Many, One, Worded
from tasks.onnx.session import open_session
from tasks.records import Fitted

ROUNDS, CALLS = 60, 200

Array = np.ndarray[Any, Any]


def bare(width: int, tail: tuple[int, ...]) -> onnx.ModelProto:
    """x float32[batch, *tail, 16] to logits [batch, *tail, width]: one product of matrices."""
    axes = ["batch", *tail]
    weights = np.random.default_rng(0).normal(size=(16, width)).astype("float32")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "bare",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*axes, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*axes, width])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def decided(
    proto: onnx.ModelProto, answer: Worded, axes: tuple[int | str, ...], fitted: Fitted
) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    head = answer.head({"logits": axes}, fitted)
    assert head is not None
    made.graph.node.extend(head.nodes)
    made.graph.initializer.extend(head.constants)
    del made.graph.output[:]
    made.graph.output.extend(head.outputs)
    return made


def cases() -> Iterator[tuple[str, Worded, int, tuple[int, ...], Fitted]]:
    words = tuple(f"class {code}" for code in range(14))
    yield "one of 10", One(), 10, (), Fitted(classes=words[:10])
    yield "one of 10, thresholds", One(), 10, (), Fitted(classes=words[:10], thresholds=(0.2,) * 10)
    yield "one logit", One(), 1, (), Fitted(classes=words[:2])
    yield "14 labels", Many(), 14, (), Fitted(classes=words, thresholds=(0.4,) * 14)
    yield "40 tags of 10", Each(), 10, (40,), Fitted(classes=words[:10])


def microseconds(sessions: list[Any], x: Array) -> list[float]:
    """Of each session, interleaved."""
    taken: list[list[float]] = [[] for _ in sessions]
    for _ in range(ROUNDS):
        for times, session in zip(taken, sessions, strict=True):
            began = time.perf_counter()
            for _ in range(CALLS):
                session.run(None, {"x": x})
            times.append((time.perf_counter() - began) / CALLS * 1e6)
    return [statistics.quantiles(times, n=4)[0] for times in taken]


def main() -> None:
    with published("decide", "onnxruntime") as lines:
        lines += table(("answer", "batch", "logits, µs", "words, µs", "more"), measured())


def measured() -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        for name, answer, width, tail, fitted in cases():
            plain = bare(width, tail)
            files = [plain, decided(plain, answer, ("batch", *tail, width), fitted)]
            sessions = []
            for place, proto in enumerate(files):
                onnx.checker.check_model(proto, full_check=True)
                path = Path(folder) / f"{place}.onnx"
                path.write_bytes(proto.SerializeToString())
                sessions.append(open_session(path))
            for batch in (1, 64):
                x = np.random.default_rng(1).normal(size=(batch, *tail, 16)).astype("float32")
                without, with_nodes = microseconds(sessions, x)
                yield name, str(batch), *(f"{us:.1f}" for us in (without, with_nodes, with_nodes - without))


if __name__ == "__main__":
    main()
