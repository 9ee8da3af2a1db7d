"""OnnxModel → the MLflow model folder that is registered, signed and served; its model.onnx is ours byte for byte."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.data.dataset import read_split
from tasks.records import Dataset, OnnxModel, TensorSpec

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema

_EXAMPLE_ROWS = 3


def build_folder(
    onnx_model: OnnxModel, dataset: Dataset, folder: Path, mlflow_model: "Model | None" = None
) -> None:
    """Write the MLflow model `folder` (which must not exist): MLmodel, model.onnx, signature, input example.

    MLflow writes the graph anew; the proved file is put in its place, so that digests hold.
    """
    import mlflow.onnx
    import onnx

    mlflow.onnx.save_model(
        onnx.load(onnx_model.path, load_external_data=False),
        str(folder),
        mlflow_model=mlflow_model,
        signature=signature(onnx_model),
        input_example=input_example(dataset),
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "onnx", "onnxruntime", "numpy")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    shutil.copyfile(onnx_model.path, folder / "model.onnx")


def signature(onnx_model: OnnxModel) -> "ModelSignature":
    """The graph's names, dtypes and shapes as MLflow's tensor signature; -1 stands for a dynamic axis."""
    from mlflow.models import ModelSignature

    return ModelSignature(inputs=_schema(onnx_model.inputs), outputs=_schema(onnx_model.outputs))


def _schema(specs: tuple[TensorSpec, ...]) -> "Schema":
    from mlflow.types import Schema
    from mlflow.types import TensorSpec as Column

    def shape(spec: TensorSpec) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in spec.shape)

    return Schema([Column(np.dtype(spec.dtype), shape(spec), spec.name) for spec in specs])


def input_example(dataset: Dataset) -> dict[str, Any]:
    """A few rows of the validation split, by input name."""
    few = read_split(dataset, "validation")[:_EXAMPLE_ROWS].inputs
    return {name: np.array(array) for name, array in few.items()}
