"""The module of a workload: built from a seed, loaded from a checkpoint, and asked for its outputs."""

import inspect
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.data.arrays import Array, Samples
from tasks.data.dataset import read_split
from tasks.errors import UserError
from tasks.records import Checkpoint, Dataset
from tasks.system.sentences import as_user_error
from tasks.training.checkpoint import load_weights
from tasks.training.randomness import random_numbers_lock, seed_everything
from tasks.workloads.workload import Workload


def build_module(workload: Workload, dataset: Dataset, model: str | None = None, seed: int = 0) -> nn.Module:
    """A new module with seeded weights, on the CPU, that was seen to take the workload's inputs.

    Raises UserError when it cannot be built, takes other names, fails on real rows or gives outputs of the wrong shape.
    """
    return build_from(workload, read_split(dataset, "train"), dataset.classes, model, seed)


def build_from(
    workload: Workload, samples: Samples, classes: tuple[str, ...] | None, model: str | None, seed: int
) -> nn.Module:
    """The same from training rows in memory."""
    build = workload.builder(model)
    with as_user_error(f"Workload {workload.name}: its model was not built"), random_numbers_lock:
        seed_everything(seed)
        module = build(samples.inputs) if _asks_for_inputs(build) else build()  # type: ignore[call-arg]
    if not isinstance(module, nn.Module):
        raise UserError(
            f"Workload {workload.name}: its model is a {type(module).__name__}; return a torch.nn.Module."
        )
    _check_names(workload, module, list(samples.inputs))
    _check_outputs(workload, module, samples[:2], classes)
    return module


def load_module(
    workload: Workload, dataset: Dataset, checkpoint: Checkpoint, *, model: str | None = None
) -> nn.Module:
    """The trained module, on the CPU, ready to predict. Raises StepError when the checkpoint was altered."""
    module = build_module(workload, dataset, model)
    module.load_state_dict(load_weights(checkpoint))
    return module.eval()


def all_outputs(outputs: Any) -> dict[str, Tensor]:
    """What a forward returned, by name: a dict's own names (so also a Hugging Face model's), a tuple's by place."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, tuple | list):
        return {f"output_{index}": tensor for index, tensor in enumerate(outputs)}
    return {"output_0": outputs}


def main_output(outputs: Any) -> Tensor:
    """The output that is learned and scored: the first. Others are exported and served beside it."""
    first = next(iter(all_outputs(outputs).values()), None)
    if first is None:
        raise TypeError("forward() returned no tensor")
    return first


def answers(module: nn.Module, inputs: dict[str, Array]) -> dict[str, Tensor]:
    """All outputs for these rows, by name, computed in evaluation mode where the module's weights are."""
    weights = chain(module.parameters(), module.buffers())
    device = next((tensor.device for tensor in weights), torch.device("cpu"))
    training = module.training
    module.eval()
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(np.array(array)).to(device) for name, array in inputs.items()}
        outputs = all_outputs(module(**tensors))
    module.train(training)
    return outputs


def predict(module: nn.Module, inputs: dict[str, Array], batch_size: int = 256) -> Array:
    """The module's raw (first) output for all rows, float32[n, ...]."""
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), batch_size):
        batch = {name: array[start : start + batch_size] for name, array in inputs.items()}
        parts.append(main_output(answers(module, batch)).float().cpu().numpy())
    return np.concatenate(parts)


def _asks_for_inputs(build: Callable[..., nn.Module]) -> bool:
    """Whether it has a parameter that must be given."""
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in named and p.default is p.empty for p in inspect.signature(build).parameters.values())


def _check_names(workload: Workload, module: nn.Module, names: list[str]) -> None:
    signature = inspect.signature(module.forward)
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise UserError(
            f"Workload {workload.name}: inputs() gives {', '.join(names)}, but the model's forward takes "
            f"{', '.join(signature.parameters)}: use the same names."
        ) from error


def _check_outputs(
    workload: Workload, module: nn.Module, few: Samples, classes: tuple[str, ...] | None
) -> None:
    """Run two real rows through: a wrong shape is said here, in words, and not by the loss."""
    who = f"Workload {workload.name}: its model"
    shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in few.inputs.items())
    with as_user_error(f"{who} fails on its own inputs ({shapes})", _hint(few.inputs)):
        outputs = answers(module, few.inputs)
        main = main_output(outputs)
        others = [name for name, value in outputs.items() if not value.ndim or len(value) != len(few)]
    if others:  # a server that answers many requests at once could not tell them apart
        raise UserError(
            f"{who}'s output {others[0]} has no row for each row of a request: return tensors of shape [rows, …], or leave it out."
        )
    if not _fits(main, classes, own_loss=workload.loss is not None):
        count = len(few)
        expected = f"[{count}] or [{count}, 1]" if classes is None else f"[{count}, {len(classes)}]"
        raise UserError(
            f"{who} gives outputs of shape {list(main.shape)} for {count} rows; {expected} is needed for {workload.kind}."
        )


def _fits(outputs: Tensor, classes: tuple[str, ...] | None, own_loss: bool) -> bool:
    """One number a row for a regression; a logit for each class, or one for two; more axes only to a loss of one's own."""
    width = outputs.shape[1] if outputs.ndim == 2 else 1
    if classes is None:
        return width == 1
    return (outputs.ndim <= 2 or own_loss) and (width >= len(classes) or (len(classes) == 2 and width == 1))


def _hint(inputs: dict[str, Array]) -> str:
    """numpy's floats are of another kind than torch's weights: what goes wrong first in most first workloads."""
    other = [name for name, array in inputs.items() if array.dtype.kind == "f" and array.dtype != "float32"]
    return f"; weights are float32, so give {other[0]}.astype('float32') in inputs()" if other else ""
