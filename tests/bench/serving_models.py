"""Small ONNX models in MLflow model folders, for the server's tests and benchmarks."""

import datetime
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
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


def two_inputs() -> ModelProto:
    """Named inputs of two types, one with a dynamic axis: token ids looked up and averaged, plus some features."""
    random = np.random.default_rng(7)
    table = random.normal(size=(50, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["looked_up"]),
        helper.make_node("ReduceMean", ["looked_up"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Add", ["mean", "features"], ["sum"]),
        helper.make_node("ReduceSum", ["sum", "axis"], ["total"], keepdims=0),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "length"])
    inputs = [tokens, floats("features", "n", 4)]
    return graph(
        nodes, inputs, [floats("sum", "n", 4), floats("total", "n")], {"table": table, "axis": np.array([1])}
    )


def slow(loops: int, seed: int = 0, size: int = 64) -> ModelProto:
    """The first layer's input multiplied over and over: slow by as much as is asked for, with finite outputs."""
    random = np.random.default_rng(seed)
    nodes, at = [], "x"
    for layer in range(loops):
        nodes.append(helper.make_node("MatMul", [at, "w"], [f"m{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"m{layer}"], [f"t{layer}"]))
        at = f"t{layer}"
    nodes.append(helper.make_node("MatMul", [at, "out"], ["logits"]))
    weights = {
        "w": (random.normal(size=(size, size)) / size**0.5).astype(np.float32),
        "out": random.normal(size=(size, 10)).astype(np.float32),
    }
    return graph(nodes, [floats("x", "n", size)], [floats("logits", "n", 10)], weights)


def breaks_on_large(seed: int = 1) -> ModelProto:
    """Like `mlp`, but gives NaN for rows whose first number is above one."""
    model = mlp(seed=seed)
    model.graph.node[-1].output[0] = "plain"
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "one"], ["first"]),
        helper.make_node("Sub", ["unit", "first"], ["below"]),
        helper.make_node("Sqrt", ["below"], ["root"]),
        helper.make_node("Mul", ["root", "nought"], ["nothing"]),
        helper.make_node("Add", ["plain", "nothing"], ["logits"]),
    ]
    model.graph.node.extend(nodes)
    weights = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "unit": np.array(1, np.float32),
        "nought": np.array(0, np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


def cnn(seed: int = 0) -> ModelProto:
    """1×28×28 to 10 classes with about 400,000 parameters."""
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> Any:
        return (random.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["image", "c1", "d1"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "c2", "d2"], ["d"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("Gemm", ["i", "w2", "b2"], ["logits"], transB=1),
    ]
    weights = {
        "c1": weight(16, 1, 3, 3), "d1": weight(16, 1)[:, 0],
        "c2": weight(32, 16, 3, 3), "d2": weight(32, 1)[:, 0],
        "w1": weight(250, 1568), "b1": weight(250, 1)[:, 0],
        "w2": weight(10, 250), "b2": weight(10, 1)[:, 0],
    }  # fmt: skip
    return graph(nodes, [floats("image", "n", 1, 28, 28)], [floats("logits", "n", 10)], weights)


def transformer(layers: int = 6, width: int = 384, heads: int = 6, vocabulary: int = 256) -> ModelProto:
    """Token ids to ten classes through encoder layers: 10.6 million parameters."""
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {
        "table": random.normal(size=(vocabulary, width)).astype(np.float32),
        "split": np.array([0, 0, heads, width // heads]),
        "merge": np.array([0, 0, width]),
        "scale": np.array((width // heads) ** -0.5, np.float32),
        "one": np.ones(width, np.float32),
    }
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["x0"])]

    def dense(source: str, name: str, *shape: int) -> str:
        weights[name] = (random.normal(size=shape) / shape[0] ** 0.5).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [source, name], [f"{name}.out"]))
        return f"{name}.out"

    def add(kind: str, sources: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, sources, [out], **attributes))
        return out

    at = "x0"
    for layer in range(layers):
        p = f"l{layer}."
        norm = add("LayerNormalization", [at, "one"], f"{p}norm1", axis=-1)
        parts = []
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            cut = add("Reshape", [dense(norm, p + part, width, width), "split"], f"{p}{part}.cut")
            parts.append(add("Transpose", [cut], f"{p}{part}.turned", perm=order))
        scores = add("MatMul", parts[:2], f"{p}scores")
        attention = add("Softmax", [add("Mul", [scores, "scale"], f"{p}scaled")], f"{p}attention", axis=-1)
        mixed = add(
            "Transpose", [add("MatMul", [attention, parts[2]], f"{p}mixed")], f"{p}back", perm=[0, 2, 1, 3]
        )
        out = dense(add("Reshape", [mixed, "merge"], f"{p}merged"), f"{p}o", width, width)
        at = add("Add", [at, out], f"{p}sum1")
        inner = dense(
            add("LayerNormalization", [at, "one"], f"{p}norm2", axis=-1), f"{p}up", width, 4 * width
        )
        at = add(
            "Add", [at, dense(add("Relu", [inner], f"{p}relu"), f"{p}down", 4 * width, width)], f"{p}sum2"
        )
    pooled = add("ReduceMean", [at], "pooled", axes=[1], keepdims=0)
    weights["head"] = random.normal(size=(width, 10)).astype(np.float32)
    nodes.append(helper.make_node("MatMul", [pooled, "head"], ["logits"]))
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "length"])
    return graph(nodes, [tokens], [floats("logits", "n", 10)], weights)


def save(folder: Path, model: ModelProto, example: dict[str, Any] | None = None) -> Path:
    """An MLflow model folder, as the registry hands it out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
        _save(folder, model)
    if example is not None:
        (folder / "serving_input_example.json").write_text(json.dumps({"inputs": example}))
    return folder


def _save(folder: Path, model: ModelProto) -> None:
    import mlflow.onnx
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(values: Any) -> Schema:
        specs = []
        for value in values:
            kind = value.type.tensor_type
            shape = [dim.dim_value or -1 for dim in kind.shape.dim]
            text = kind.elem_type == TensorProto.STRING
            dtype = np.dtype(str if text else helper.tensor_dtype_to_np_dtype(kind.elem_type))
            specs.append(TensorSpec(dtype, shape, value.name))
        return Schema(specs)

    signature = ModelSignature(schema(model.graph.input), schema(model.graph.output))
    requirements = ["onnxruntime"]
    mlflow.onnx.save_model(
        model, folder, signature=signature, save_as_external_data=False, pip_requirements=requirements
    )


def seal(folder: Path, model: str = "digits") -> None:
    """Evidence that it was proved, signed with the key of SLIPWAY_HOME."""
    from tasks.proof import evidence

    evidence.seal(folder, evidence_of(folder, model))


def evidence_of(folder: Path, model: str = "digits") -> Any:
    """What says that it was proved."""
    from tasks.measured import Proof, Report, Verdict
    from tasks.proof.evidence import Evidence
    from tasks.proof.provenance import Code
    from tasks.system.files import sha256_of

    digest = sha256_of(folder / "model.onnx")
    report = Report(
        name="fp32", split="test", rows=9, score=0.9, score_name="accuracy", sha256=digest, size_bytes=300
    )
    verdict = Verdict(decision="pass", reasons=("it is good",))
    return Evidence(
        model=model,
        workload=model,
        created=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        model_sha256=digest,
        run_id="0" * 32,
        fingerprint="f" * 64,
        rows={"test": 9},
        checkpoint_sha256="c" * 64,
        code=Code(revision="a" * 40, dirty=False),
        config={},
        libraries={},
        machine="a machine",
        candidates=(report,),
        picked="fp32",
        proof=Proof(report=report, baseline=report, verdict=verdict),
    )
