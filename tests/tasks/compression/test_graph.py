"""What a quantiser is given: the same numbers, in a form that it takes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from tasks.compression.graph import prepare
from tasks.compression.quantiser_output import without_quantiser_output
from tasks.onnx.session import open_session

ROWS = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")


class Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._rows = iter([{"x": ROWS}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


@pytest.mark.parametrize("shared", [False, True])
def test_a_bias_of_one_row_is_quantised_like_one_without_it(tmp_path: Path, shared: bool) -> None:
    draws = np.random.default_rng(1)
    arrays = {
        "w": draws.normal(size=(8, 4)).astype("float32"),
        "b": draws.normal(size=(1, 4)).astype("float32"),
    }
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y" if not shared else "h"])]
    if shared:
        nodes.append(helper.make_node("Mul", ["h", "b"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    source = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), source)
    prepared = prepare(source, tmp_path)
    expected = open_session(source).run(None, {"x": ROWS})[0]
    np.testing.assert_array_equal(open_session(prepared).run(None, {"x": ROWS})[0], expected)
    if not shared:
        with without_quantiser_output():
            quantize_static(prepared, tmp_path / "int8.onnx", Rows(), per_channel=True)
        answers = open_session(tmp_path / "int8.onnx").run(None, {"x": ROWS})[0]
        assert np.abs(answers - expected).max() < 0.1 * np.abs(expected).max()
