"""The two ways in which torch writes a module as ONNX; which of them is right for a model, tasks.onnx.export finds out."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import nn

from tasks.onnx.sizes import Arrays
from tasks.records import Dataset
from tasks.training.module import answers
from tasks.workloads.workload import Workload


def with_dynamo(module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays) -> onnx.ModelProto:
    dims: dict[str, Any] = {}
    shapes = {
        name: {axis: dims.setdefault(size, torch.export.Dim(size)) for axis, size in axes.items()}
        for name, axes in _dynamic_axes(dataset).items()
    }
    names = output_names(module, workload, arrays)
    program = _export(module, arrays, names, dynamic_shapes=shapes, dynamo=True, verbose=False)
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


def with_torchscript(
    module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays
) -> onnx.ModelProto:
    names = output_names(module, workload, arrays)
    axes = _dynamic_axes(dataset) | {name: {0: "batch"} for name in names}
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        _export(module, arrays, names, f=file.name, dynamic_axes=axes, dynamo=False)
        return onnx.load(file.name)


def _export(module: nn.Module, arrays: Arrays, names: list[str], **how: Any) -> torch.onnx.ONNXProgram | None:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return torch.onnx.export(module, (), kwargs=tensors, input_names=list(arrays), output_names=names, **how)


def _dynamic_axes(dataset: Dataset) -> dict[str, dict[int, str]]:
    return {
        spec.name: {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in dataset.inputs
    }


EXPORTERS: dict[str, Callable[[nn.Module, Workload, Dataset, Arrays], onnx.ModelProto]] = {
    "dynamo": with_dynamo,
    "torchscript": with_torchscript,
}


@contextmanager
def without_warnings() -> Iterator[None]:
    """Without the exporters' warnings on things they then do right (no torchvision, deprecated tree leaves)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def output_names(module: nn.Module, workload: Workload, arrays: Arrays) -> list[str]:
    """The first output has the workload's name; a dict's others keep their keys, a tuple's are numbered."""
    return [workload.output_name, *list(answers(module, arrays))[1:]]
