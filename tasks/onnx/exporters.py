"""The two ways in which torch writes a module as ONNX; which of them is right for a model, tasks.onnx.export finds out."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from tasks.records import Dataset
from tasks.training.module import all_outputs
from tasks.workloads.workload import Workload

Arrays = dict[str, np.ndarray[Any, Any]]


def with_dynamo(module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays) -> onnx.ModelProto:
    dims: dict[str, Any] = {}
    shapes = {
        spec.name: {
            a: dims.setdefault(s, torch.export.Dim(s)) for a, s in enumerate(spec.shape) if isinstance(s, str)
        }
        for spec in dataset.inputs
    }
    program = torch.onnx.export(
        module,
        (),
        kwargs={name: torch.from_numpy(array) for name, array in arrays.items()},
        input_names=list(arrays),
        output_names=output_names(module, workload, arrays),
        dynamic_shapes=shapes,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


def with_torchscript(
    module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays
) -> onnx.ModelProto:
    names = output_names(module, workload, arrays)
    axes = {
        spec.name: {a: s for a, s in enumerate(spec.shape) if isinstance(s, str)} for spec in dataset.inputs
    }
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(
            module,
            (),
            file.name,
            kwargs={name: torch.from_numpy(array) for name, array in arrays.items()},
            input_names=list(arrays),
            output_names=names,
            dynamic_axes={**axes, **{name: {0: "batch"} for name in names}},
            dynamo=False,
        )
        return onnx.load(file.name)


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
    with torch.inference_mode():
        outputs = all_outputs(
            module(**{name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
        )
    return [workload.output_name, *list(outputs)[1:]]
