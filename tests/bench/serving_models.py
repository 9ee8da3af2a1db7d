"""Small ONNX models in MLflow model folders, for the server's tests and benchmarks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import ModelProto

OPSET = 17


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) -> ModelProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def floats(name: str, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def mlp(sizes: tuple[int, ...] = (64, 256, 10), seed: int = 0, name: str = "x") -> ModelProto:
    """Linear layers with ReLU between them."""
    random = np.random.default_rng(seed)
    nodes, weights, at = [], {}, name
    for layer, (left, right) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        weights[f"w{layer}"] = (random.normal(size=(left, right)) / left**0.5).astype(np.float32)
        weights[f"b{layer}"] = random.normal(size=right).astype(np.float32)
        last = layer == len(sizes) - 2
        out = "logits" if last else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [at, f"w{layer}", f"b{layer}"], [out]))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{layer}"]))
        at = f"r{layer}"
    return graph(nodes, [floats(name, "n", sizes[0])], [floats("logits", "n", sizes[-1])], weights)


def save(folder: Path, model: ModelProto, example: dict[str, Any] | None = None) -> Path:
    """An MLflow model folder, as the registry hands it out."""
    import mlflow.onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(values: Any) -> Schema:
        specs = []
        for value in values:
            kind = value.type.tensor_type
            shape = [dim.dim_value or -1 for dim in kind.shape.dim]
            specs.append(TensorSpec(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape, value.name))
        return Schema(specs)

    signature = ModelSignature(schema(model.graph.input), schema(model.graph.output))
    mlflow.onnx.save_model(model, folder, signature=signature, save_as_external_data=False, pip_requirements=["onnxruntime"])
    if example is not None:
        (folder / "serving_input_example.json").write_text(json.dumps({"inputs": example}))
    return folder
