from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

from tasks.compression.folding import fold
from tasks.compression.graph import prepare
from tasks.compression.quantiser_output import without_quantiser_output

IMAGES = np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype("float32")


class Reader:
    def __init__(self) -> None:
        self._left = [{"image": IMAGES}]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions and a linear layer, as an exporter would name them."""
    draw = np.random.default_rng(1)
    shapes = {
        "body.0.weight": (8, 1, 3, 3),
        "body.0.bias": (8,),
        "body.2.weight": (8, 8, 3, 3),
        "body.2.bias": (8,),
        "head.weight": (8, 3),
        "head.bias": (3,),
    }
    weights = [
        numpy_helper.from_array(draw.standard_normal(s).astype("float32"), n) for n, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "body.0.weight", "body.0.bias"], ["a"], "conv_0"),
        helper.make_node("Relu", ["a"], ["b"], "relu_0"),
        helper.make_node("Conv", ["b", "body.2.weight", "body.2.bias"], ["c"], "conv_1"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["e"], "flatten"),
        helper.make_node("Gemm", ["e", "head.weight", "head.bias"], ["q0"], "head"),
    ]
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    y = helper.make_tensor_value_info("q0", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    folder = tmp_path_factory.mktemp("folding")
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        folder / "m.onnx",
    )
    return prepare(folder / "m.onnx", folder)


@pytest.fixture(params=["static", "dynamic"])
def quantised(request: pytest.FixtureRequest, source: Path, tmp_path: Path) -> Path:
    with without_quantiser_output():
        if request.param == "static":
            quantize_static(source, tmp_path / "q.onnx", Reader(), per_channel=True)
        else:
            quantize_dynamic(source, tmp_path / "q.onnx", weight_type=QuantType.QInt8)
    return tmp_path / "q.onnx"


def answers(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": IMAGES})[0]


def fused(path: Path, folder: Path) -> list[str]:
    """The kernels that run: what ONNX Runtime makes of the file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return sorted(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def test_a_folded_file_is_smaller_and_answers_to_the_bit_with_the_same_kernels(
    source: Path, quantised: Path, tmp_path: Path
) -> None:
    size, said, kernels = quantised.stat().st_size, answers(quantised), fused(quantised, tmp_path)
    fold(quantised, source)
    assert quantised.stat().st_size < size
    onnx.checker.check_model(onnx.load(quantised), full_check=True)
    assert (answers(quantised) == said).all()
    assert fused(quantised, tmp_path) == kernels
    folded = quantised.read_bytes()
    fold(quantised, source)
    assert quantised.read_bytes() == folded


def test_layers_weights_inputs_and_outputs_keep_their_names(source: Path, quantised: Path) -> None:
    before = onnx.load(quantised).graph
    fold(quantised, source)
    graph = onnx.load(quantised).graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["image", "q0"]
    layers = {node.name for node in onnx.load(source).graph.node}
    assert {node.name for node in graph.node} & layers == {node.name for node in before.node} & layers
    assert "head.weight_quantized" in {tensor.name for tensor in graph.initializer}
    produced = [name for node in graph.node for name in node.output]
    assert len(produced) == len(set(produced))


def test_words_of_different_constants_stay_apart_and_the_same_words_are_once(tmp_path: Path) -> None:
    said = [[f"word {n} {place}" for place in range(3)] for n in (*range(20), 0)]
    words = [
        helper.make_tensor(f"words{n}", TensorProto.STRING, [3], [word.encode() for word in each])
        for n, each in enumerate(said)
    ]
    nodes = [helper.make_node("Identity", [tensor.name], [f"y{n}"]) for n, tensor in enumerate(words)]
    outputs = [helper.make_tensor_value_info(f"y{n}", TensorProto.STRING, [3]) for n in range(len(words))]
    graph = helper.make_graph(nodes, "g", [], outputs, words)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    fold(path, path)
    assert [answer.tolist() for answer in onnxruntime.InferenceSession(path).run(None, {})] == said
    assert len(onnx.load(path).graph.initializer) == 20
