"""A state_dict of somebody's: read without running any code that it may hold, and put into the module that it fits."""

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tasks.errors import UserError
from tasks.system.sentences import first_line, some

_INSIDE = ("state_dict", "model_state_dict", "model", "weights", "module")
"""Where trainers keep a module's weights in what they save."""


def weights_in(content: bytes, name: str) -> dict[str, Tensor]:
    """The weights in a .pt or .safetensors file called `name`, on the CPU. Raises UserError for anything else."""
    if name.endswith(".safetensors"):
        return _safetensors(content, name)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever an unpickler meets
        raise UserError(_why_not(content, name, error)) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(_not_weights(state, name))
    return {str(key): value for key, value in state.items()}


def fill(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Give the module these weights. Raises UserError that names what does not fit."""
    wanted = module.state_dict()
    lacking = [key for key in wanted if key not in weights]
    unknown = [key for key in weights if key not in wanted]
    parts = [f"lacks {some(lacking, 3)}"] if lacking else []
    parts += [f"has {some(unknown, 3)}"] if unknown else []
    if parts:
        raise UserError(f"{name} {' and '.join(parts)}: rename them, or load what fits in build_model.")
    lazy = nn.parameter.is_lazy
    for key, tensor in wanted.items():
        if not lazy(tensor) and tensor.shape != weights[key].shape:
            raise UserError(
                f"{name} has {key} of shape {list(weights[key].shape)} where the model's is {list(tensor.shape)}: "
                "build the model of that size, or load what fits in build_model."
            )
    module.load_state_dict(weights)


def unsafe_globals(content: bytes) -> list[str]:
    """What unpickling would look up besides tensors and plain values, found without unpickling anything."""
    return list(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content)))


def _safetensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise UserError(f"{name} needs the package safetensors: pip install safetensors.") from error
    try:
        return dict(load(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{name} is no safetensors file: {first_line(error)}.") from error


def _why_not(content: bytes, name: str, error: Exception) -> str:
    if "TorchScript" in str(error):
        return f"{name} is a TorchScript archive, which holds code: save module.state_dict(), or torch.export.save(…)."
    if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(io.BytesIO(content)):
        held = unsafe_globals(content)
        if held and not any(key.startswith("torch.nn.") for key in held) and _is_data(held):
            return f"{name} holds {some(held, 3)} beside its weights: save module.state_dict() alone."
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"{name} is a pickled module, which runs code when it is loaded: save module.state_dict(), or "
            "torch.export.save(…)."
        )
    return f"{name} is no file of torch's ({first_line(error)}): is it torn, or of another kind?"


def _is_data(held: list[str]) -> bool:
    """Whether these are records that trainers add, and no classes of the author's own."""
    return all(
        key.partition(".")[0] in ("argparse", "numpy", "collections", "pathlib", "builtins") for key in held
    )


def _not_weights(state: Any, name: str) -> str:
    if not isinstance(state, Mapping):
        return f"{name} holds a {type(state).__name__}: save module.state_dict()."
    within: Iterator[str] = (key for key in _INSIDE if isinstance(state.get(key), Mapping))
    if key := next(within, None):
        return (
            f"{name} keeps its weights in {key!r}, beside {some([k for k in state if k != key], 3)}: save "
            f"torch.load({name!r})[{key!r}] alone."
        )
    return f"{name} holds {some(list(state), 3)}, which are no weights by name: save module.state_dict()."
