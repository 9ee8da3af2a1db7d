"""Models that exist, as modules: a state_dict in the module that it fits, an exported program, an ONNX file that runs itself."""

import inspect
import types
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from tasks.data.arrays import Array
from tasks.errors import UserError
from tasks.training.program_file import inputs_of, program_in
from tasks.training.weights_file import fill, weights_in
from tasks.workloads.model_files import Exported, Known, ModelFile, Onnx, Weights

_AT_ONCE = 64
"""Rows that an ONNX file is asked together: without optimisations it holds every intermediate result."""


def module_of(source: Any, known: Known) -> nn.Module:
    """What a workload's model is, as a module: built by its function, or read from its file.

    Raises UserError for a file that is not there, or that cannot be served.
    """
    make: Callable[[Any, Known], nn.Module] = _MADE.get(type(source), _built)
    return make(source, known)


class FileModule(nn.Module):
    """A module that a file is, its bytes among the weights: a checkpoint holds the file itself. It is never trained."""

    name: str
    signature: inspect.Signature
    """Of its forward, for names are checked before it runs."""
    axes: Mapping[str, tuple[int | None, ...]]
    """The sizes that each input's axes are fixed at; None: any."""
    dtypes: Mapping[str, str]
    """What numpy calls each input's kind of number."""
    weights: int
    reference: str = "torch's"
    """Whose answers a file that is made of it is held to, in words."""
    rounds: bool = False
    """Whether it computes in 8 bits, so that its answers are as near to others as its steps are wide."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__()
        self.name = name
        self.file: Tensor
        self.register_buffer("file", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self._read(content)

    @abstractmethod
    def _read(self, content: bytes) -> None:
        """Take what is asked from the file. Raises UserError for one that cannot be served."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Be the file that a checkpoint holds, whatever is at the path by now."""
        self.file = state_dict["file"]
        self._read(self.content)
        return super().load_state_dict(state_dict, strict, assign)

    @property
    def content(self) -> bytes:
        return self.file.cpu().numpy().tobytes()


class ProgramModule(FileModule):
    """What torch.export.save wrote: it computes as its author's module did in evaluation mode."""

    def _read(self, content: bytes) -> None:
        program = program_in(content, self.name)
        inputs = dict(inputs_of(program))
        self.axes = {
            name: tuple(size if isinstance(size, int) else None for size in tensor.shape)
            for name, tensor in inputs.items()
        }
        self.dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in inputs.items()}
        module = program.module()
        for mode in ("train", "eval"):  # torch leaves both out; an evaluated program has one mode
            setattr(module, mode, types.MethodType(lambda self, *_: self, module))
        self.weights = sum(tensor.numel() for tensor in program.state_dict.values())
        self.signature = inspect.signature(module.forward)
        self._program = (module,)  # in a tuple: its weights are in the file, and are not saved twice

    @property
    def program(self) -> nn.Module:
        return self._program[0]

    def forward(self, **inputs: Tensor) -> Any:
        return self.program(**inputs)


class OnnxModule(FileModule):
    """An ONNX file as its own reference: run without the runtime's optimisations, so that those are held to something."""

    reference = "its own without optimisations"

    def __init__(self, name: str, content: bytes, first: Sequence[str]) -> None:
        self._first = tuple(first)
        super().__init__(name, content)

    def _read(self, content: bytes) -> None:
        from tasks.training.onnx_file import OnnxFile

        self.graph: OnnxFile = OnnxFile(self.name, content, self._first)
        self.axes, self.dtypes, self.weights = self.graph.axes, self.graph.dtypes, self.graph.weights
        kind = inspect.Parameter.KEYWORD_ONLY
        self.signature = inspect.Signature([inspect.Parameter(name, kind) for name in self.graph.inputs])
        self.rounds = self.graph.quantised

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        rows = len(next(iter(arrays.values())))
        parts = [
            self.graph.run({name: array[start : start + _AT_ONCE] for name, array in arrays.items()})
            for start in range(0, max(rows, 1), _AT_ONCE)
        ]
        return {name: torch.from_numpy(np.concatenate([p[name] for p in parts])) for name in parts[0]}


def _built(build: Callable[..., nn.Module], known: Known) -> nn.Module:
    return build(known) if _asks_for_inputs(build) else build()


def _asks_for_inputs(build: Callable[..., nn.Module]) -> bool:
    """Whether it has a parameter that must be given."""
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in named and p.default is p.empty for p in inspect.signature(build).parameters.values())


def _filled(file: Weights, known: Known) -> nn.Module:
    module = _built(cast(Callable[..., nn.Module], file.build), known)
    if isinstance(module, nn.Module):  # what is none is said by whoever asked
        fill(module, weights_in(file.content(), file.name), file.name)
    return module


_MADE: dict[type[ModelFile], Callable[[Any, Known], nn.Module]] = {
    Weights: _filled,
    Exported: lambda file, known: ProgramModule(file.name, file.content()),
    Onnx: lambda file, known: OnnxModule(file.name, file.content(), known.outputs),
}


def name_of(module: nn.Module) -> str:
    """What people call a module: its class, or its file."""
    return module.name if isinstance(module, FileModule) else type(module).__name__


def weights_of(module: nn.Module) -> tuple[int, int]:
    """How many numbers are learned, and how many are there besides; of a file none is learned."""
    if isinstance(module, FileModule):
        return 0, module.weights
    sizes = [(p.requires_grad, p.numel()) for p in module.parameters()]
    return sum(n for learned, n in sizes if learned), sum(n for learned, n in sizes if not learned)


def reference_of(module: nn.Module) -> str:
    """Whose answers an export of the module is held to, in words."""
    return module.reference if isinstance(module, FileModule) else FileModule.reference


def rounds(module: nn.Module) -> bool:
    """Whether the module computes in 8 bits."""
    return isinstance(module, FileModule) and module.rounds


def signature_of(module: nn.Module) -> inspect.Signature:
    """What a module's forward takes."""
    return module.signature if isinstance(module, FileModule) else inspect.signature(module.forward)


def check_inputs(
    module: nn.Module, inputs: Mapping[str, Array], dynamic: Mapping[str, Mapping[int, str]]
) -> None:
    """Raise UserError where a file takes other numbers or sizes than the inputs are, or fixes an axis that has to be free."""
    if not isinstance(module, FileModule):
        return
    for name, dtype in module.dtypes.items():
        if inputs[name].dtype != dtype:
            raise UserError(
                f"{module.name} takes {name} as {dtype}, and inputs() gives {inputs[name].dtype}: give .astype({dtype!r})."
            )
    for name, sizes in module.axes.items():
        shape = inputs[name].shape
        if len(sizes) != len(shape):
            raise UserError(
                f"{module.name} takes {name} with {len(sizes)} axes, and inputs() gives it the shape {list(shape)}: reshape it there."
            )
        free = dynamic.get(name, {})
        for axis, size in enumerate(sizes):
            if size is not None and (problem := _why_not_fixed(axis, size, shape[axis], free)):
                raise UserError(f"axis {axis} of input {name} is fixed at {size}{problem}.")


def _why_not_fixed(axis: int, size: int, given: int, free: Mapping[int, str]) -> str | None:
    if axis == 0:
        return ": export with a dynamic batch, for the server puts requests together"
    if axis in free:
        return f", and dynamic calls it {free[axis]!r}: export with that axis dynamic, or leave it out of dynamic"
    return f", and inputs() gives {given}: give as many" if size != given else None
