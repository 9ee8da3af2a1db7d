"""The two ways in which torch writes a module as ONNX; which of them is right for a model, tasks.onnx.export finds out."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from tasks.onnx.sizes import Arrays
from tasks.records import Dataset
from tasks.system.scratch import scratch
from tasks.training.footprint import without_footprint
from tasks.training.given import OnnxModule, ProgramModule
from tasks.training.module import all_outputs, answers, output_names
from tasks.workloads.workload import Workload


def with_dynamo(module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays) -> onnx.ModelProto:
    dims: dict[str, Any] = {}
    shapes = {
        name: {axis: dims.setdefault(size, torch.export.Dim(size)) for axis, size in axes.items()}
        for name, axes in _dynamic_axes(dataset).items()
    }
    names = _names(module, workload, arrays)
    _read_operators_once()
    program = _export(module, arrays, names, dynamic_shapes=shapes, dynamo=True, verbose=False)
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


@functools.cache
def _read_operators_once() -> None:
    """torch reads how each of its operators is said in ONNX anew at every export, for half a second; a copy is as good."""
    with suppress(ImportError, AttributeError):  # where another release has it elsewhere
        from torch.onnx._internal.exporter import _registration

        registry: Any = _registration.ONNXRegistry
        read = functools.cache(registry.from_torchlib)

        def copied(**how: Any) -> Any:
            mine = copy.copy(read(**how))
            mine.functions = {name: [*ways] for name, ways in mine.functions.items()}
            return mine

        registry.from_torchlib = staticmethod(copied)


def with_torchscript(
    module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays
) -> onnx.ModelProto:
    names = _names(module, workload, arrays)
    axes = _dynamic_axes(dataset) | {name: {0: "batch"} for name in names}
    with scratch("export") as folder:
        file = str(folder / "model.onnx")
        _export(module, arrays, names, f=file, dynamic_axes=axes, dynamo=False)
        return onnx.load(file)


def _names(module: nn.Module, workload: Workload, arrays: Arrays) -> list[str]:
    with without_footprint(module):
        return output_names(workload, answers(module, arrays))


def _export(module: nn.Module, arrays: Arrays, names: list[str], **how: Any) -> torch.onnx.ONNXProgram | None:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with without_footprint(module), _flat_outputs(module, tensors):
        return torch.onnx.export(
            module, (), kwargs=tensors, input_names=list(arrays), output_names=names, **how
        )


@contextmanager
def _flat_outputs(module: nn.Module, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Within, a forward that nests its outputs or leaves some of them None gives a tuple of those that there are."""
    forward = module.forward
    with torch.no_grad(), without_footprint(module):
        outputs = forward(**tensors)
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    if isinstance(outputs, Tensor) or all(isinstance(value, Tensor) for value in values):
        yield
        return

    @functools.wraps(forward)
    def flat(*args: Tensor, **inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(all_outputs(forward(*args, **inputs)).values())

    vars(module)["forward"] = flat  # the caller takes it back with all else that is left on the module
    yield


def _dynamic_axes(dataset: Dataset) -> dict[str, dict[int, str]]:
    return {
        spec.name: {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in dataset.inputs
    }


def as_it_came(module: nn.Module, workload: Workload, dataset: Dataset, arrays: Arrays) -> onnx.ModelProto:
    """A given file's own graph, with the names that the workload's axes have."""
    assert isinstance(module, OnnxModule)
    proto = onnx.ModelProto()
    proto.CopyFrom(module.graph.proto)
    values = {value.name: value for value in proto.graph.input}
    for spec in dataset.inputs:
        values[spec.name].type.tensor_type.ClearField("shape")
        for size in spec.shape:
            dim = values[spec.name].type.tensor_type.shape.dim.add()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
    return proto


Exporter = Callable[[nn.Module, Workload, Dataset, Arrays], onnx.ModelProto]

AS_IT_CAME = "as it came"
"""In place of an exporter's name."""

EXPORTERS: dict[str, Exporter] = {"dynamo": with_dynamo, "torchscript": with_torchscript}


def exporters_of(module: nn.Module) -> dict[str, Exporter]:
    """The ways to try, the likeliest first: torch's, also for the program in a file, and for an ONNX file none but its own."""
    match module:
        case OnnxModule():
            return {AS_IT_CAME: as_it_came}
        case ProgramModule():
            program = module.program
            return {name: lambda _, *given, way=way: way(program, *given) for name, way in EXPORTERS.items()}
    return EXPORTERS
