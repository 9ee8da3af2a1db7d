"""OnnxModel → the MLflow model folder that is registered, signed and served; its model.onnx is ours byte for byte."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.codecs import decoding
from tasks.data.asked import CODEC
from tasks.data.dataset import asked_rows
from tasks.records import Dataset, OnnxModel, TensorSpec

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema

_EXAMPLE_ROWS = 3

_LIBRARIES = ("mlflow", "onnx", "onnxruntime", "numpy")

_CODECS = {"text": "tokenizers", "image": "pillow"}

_CODE, _FUNCTION = "code", "python_function"


def build_folder(
    onnx_model: OnnxModel, dataset: Dataset, folder: Path, mlflow_model: "Model | None" = None
) -> None:
    """Write the MLflow model `folder` (which must not exist): MLmodel, model.onnx, signature, input example.

    MLflow writes the graph anew; the proved file is put in its place, so that digests hold. With a codec, what MLflow asks is
    the codec and then the graph, and the flavor onnx beside it the graph alone.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    model = mlflow_model or Model()
    codec = dataset.codec
    libraries = (
        *_LIBRARIES,
        *sorted({_CODECS[coded.kind] for coded in codec.inputs if coded.kind in _CODECS} if codec else ()),
    )
    with _no_look_at_all_packages():
        mlflow.onnx.save_model(
            onnx.load(onnx_model.path, load_external_data=False),
            str(folder),
            mlflow_model=model,
            signature=signature(onnx_model, dataset),
            input_example=input_example(dataset),
            pip_requirements=[f"{name}=={version(name)}" for name in libraries],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
    shutil.copyfile(onnx_model.path, folder / "model.onnx")
    if codec is not None:
        shutil.copytree(dataset.folder / CODEC, folder, dirs_exist_ok=True)
        _ship_code(folder / _CODE / "slipway_codec")
        flavor = model.flavors["python_function"]
        model.add_flavor(
            "python_function",
            **{**flavor, "loader_module": f"slipway_codec.{_FUNCTION}", "code": _CODE, "data": "."},
        )
        model.save(folder / "MLmodel")


@contextmanager
def _no_look_at_all_packages() -> Iterator[None]:
    """MLflow would list every file of every package installed, for seconds, to see whether the versions that we just read are those."""
    from mlflow.utils import requirements_utils

    names = vars(requirements_utils)
    before = names.get("_MODULES_TO_PACKAGES")
    names["_MODULES_TO_PACKAGES"] = before or {}
    try:
        yield
    finally:
        names["_MODULES_TO_PACKAGES"] = before  # who lets MLflow infer requirements needs it whole


def _ship_code(folder: Path) -> None:
    """The two modules that read a request, as a package of their own: nobody's `tasks` is to be in their way."""
    folder.mkdir(parents=True)
    for name in ("decoding", _FUNCTION):
        text = Path(decoding.__file__).with_name(f"{name}.py").read_text("utf-8")
        (folder / f"{name}.py").write_text(text.replace("from tasks.codecs", f"from {folder.name}"), "utf-8")
    (folder / "__init__.py").write_text('"""How a request of this model is read, as Slipway shipped it."""\n')


def signature(onnx_model: OnnxModel, dataset: Dataset) -> "ModelSignature":
    """What a request brings and what comes back, as MLflow's tensor signature; -1 stands for a dynamic axis."""
    from mlflow.models import ModelSignature

    return ModelSignature(inputs=_schema(dataset.asked), outputs=_schema(onnx_model.outputs))


def _schema(specs: tuple[TensorSpec, ...]) -> "Schema":
    from mlflow.types import Schema
    from mlflow.types import TensorSpec as Column

    def shape(spec: TensorSpec) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in spec.shape)

    return Schema([Column(np.dtype(spec.dtype), shape(spec), spec.name) for spec in specs])


def input_example(dataset: Dataset) -> dict[str, Any]:
    """A few rows of the validation split as a request brings them, by name."""
    few = asked_rows(dataset, "validation", _EXAMPLE_ROWS).request(slice(None))
    kinds = {spec.name: spec.dtype for spec in dataset.asked}
    return {name: np.array(values, kinds[name]) for name, values in few.items()}
