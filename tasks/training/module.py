"""The module of a workload: built from a seed, loaded from a checkpoint, and asked for its outputs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.data.arrays import Array, Samples
from tasks.data.dataset import read_split
from tasks.errors import UserError
from tasks.records import Checkpoint, Dataset, Fitted
from tasks.system.sentences import as_user_error
from tasks.training.checkpoint import load_weights
from tasks.training.footprint import is_lazy, without_footprint
from tasks.training.given import check_inputs, module_of, signature_of
from tasks.training.randomness import random_numbers_lock, seed_everything
from tasks.workloads.model_files import Known, not_a_module
from tasks.workloads.workload import Workload


def build_module(workload: Workload, dataset: Dataset, model: str | None = None, seed: int = 0) -> nn.Module:
    """A new module with seeded weights, on the CPU, that was seen to take the workload's inputs.

    Raises UserError when it cannot be built, takes other names, fails on real rows or gives outputs of the wrong shape.
    """
    return build_from(workload, read_split(dataset, "train"), dataset.fitted, model, seed)


def build_from(
    workload: Workload, samples: Samples, fitted: tuple[Fitted, ...], model: str | None, seed: int
) -> nn.Module:
    """The same from training rows in memory."""
    classes = {
        name: own.classes for goal, own in zip(workload.goals, fitted, strict=True) for name in goal.outputs
    }
    known = Known(samples.inputs, classes, workload.bases)
    with as_user_error(f"Workload {workload.name}: its model was not built"), random_numbers_lock:
        seed_everything(seed)
        module = module_of(workload.builder(model), known)
        if not isinstance(module, nn.Module):
            raise UserError(f"Workload {workload.name}: {not_a_module(module)}")
        _check_names(workload, module, list(samples.inputs))
        few = samples[:2]
        check_inputs(module, few.inputs, workload.axes)
        outputs = _first_outputs(workload, module, few)  # here: lazy layers draw their weights in it
    _check_outputs(workload, few, outputs, fitted)
    return module


def load_module(
    workload: Workload, dataset: Dataset, checkpoint: Checkpoint, *, model: str | None = None
) -> nn.Module:
    """The trained module, on the CPU, ready to predict. Raises StepError when the checkpoint was altered."""
    module = build_module(workload, dataset, model)
    module.load_state_dict(load_weights(checkpoint))
    return module.eval()


def all_outputs(outputs: Any) -> dict[str, Tensor]:
    """What a forward returned, by name: a dict's own names (so also a Hugging Face model's), a tuple's by place.

    Those of a tuple or dict within go by both names: output_1_0. None, for something not asked for, is left out.
    """
    pairs = [*_flat(outputs, "")]
    named = dict(pairs)
    if len(named) < len(pairs):
        raise TypeError(f"forward() gives two outputs the name {_repeated([name for name, _ in pairs])}")
    return named


def _flat(outputs: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(outputs, Tensor):
        yield name or "output_0", outputs
    elif isinstance(outputs, Mapping):
        for key, value in outputs.items():
            yield from _flat(value, f"{name}_{key}" if name else str(key))
    elif isinstance(outputs, tuple | list):
        for place, value in enumerate(outputs):
            yield from _flat(value, f"{name or 'output'}_{place}")
    elif outputs is not None:
        raise TypeError(
            f"forward() returned {name or 'its answer'} as a {type(outputs).__name__}: return tensors, alone or in tuples, lists and dicts"
        )


def _repeated(names: list[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def goal_outputs(workload: Workload, outputs: Any) -> dict[str, Tensor]:
    """The outputs that are learned and scored, by the goals' names: the first ones. Others are exported and served beside them."""
    names = workload.outputs
    if isinstance(outputs, Tensor) and len(names) == 1:
        return {names[0]: outputs}
    return dict(zip(names, all_outputs(outputs).values(), strict=False))


def main_output(outputs: Any) -> Tensor:
    """The first output."""
    if isinstance(outputs, Tensor):
        return outputs
    first = next(iter(all_outputs(outputs).values()), None)
    if first is None:
        raise TypeError("forward() returned no tensor")
    return first


def output_names(workload: Workload, outputs: dict[str, Tensor]) -> list[str]:
    """The first outputs have the goals' names; a dict's others keep their keys, a tuple's are numbered."""
    return [*workload.outputs, *list(outputs)[len(workload.outputs) :]]


def answers(module: nn.Module, inputs: dict[str, Array]) -> dict[str, Tensor]:
    """All outputs for these rows, by name, computed in evaluation mode where the module's weights are."""
    with _evaluating(module) as device:
        return _answers(module, inputs, device)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[torch.device]:
    """The module in evaluation mode, and where its weights are. Once for many batches: a walk through 13 layers takes 75 µs.

    Not in torch's inference mode: what a module keeps of its first call could not be trained with.
    """
    weights = chain(module.parameters(), module.buffers())
    device = next((tensor.device for tensor in weights), torch.device("cpu"))
    training = [(layer, layer.training) for layer in module.modules()]  # each its own: some may be frozen
    module.eval()
    try:
        with torch.no_grad():
            yield device
    finally:
        module.train(training[0][1])
        for layer, mode in training:
            layer.training = mode


def _answers(module: nn.Module, inputs: dict[str, Array], device: torch.device) -> dict[str, Tensor]:
    tensors = {name: torch.from_numpy(np.array(array)).to(device) for name, array in inputs.items()}
    return {name: output.detach() for name, output in all_outputs(module(**tensors)).items()}


def predict_goals(
    workload: Workload, module: nn.Module, inputs: dict[str, Array], batch_size: int = 256
) -> dict[str, Array]:
    """The raw outputs that are learned, by the goals' names, for all rows, each float32[n, ...]."""
    names, parts = workload.outputs, []
    with _evaluating(module) as device:
        for start in range(0, len(next(iter(inputs.values()))), batch_size):
            batch = {name: array[start : start + batch_size] for name, array in inputs.items()}
            outputs = list(_answers(module, batch, device).values())[: len(names)]
            parts.append([output.float().cpu().numpy() for output in outputs])
    return {name: np.concatenate(part) for name, *part in zip(names, *parts, strict=True)}


def _check_names(workload: Workload, module: nn.Module, names: list[str]) -> None:
    signature = signature_of(module)
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise UserError(
            f"Workload {workload.name}: inputs() gives {', '.join(names)}, but the model's forward takes "
            f"{', '.join(signature.parameters)}: use the same names."
        ) from error


def _first_outputs(workload: Workload, module: nn.Module, few: Samples) -> dict[str, Tensor]:
    """Run two real rows through, and one of them: a wrong shape is said here, in words, and not by the loss.

    The module is left as it was, but that its lazy layers have their shapes.
    """
    who, given = f"Workload {workload.name}: its model", []
    with without_footprint(module):
        for which, rows in (("its own inputs", few), ("a row alone, as a server asks it", few[:1])):
            shapes = ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in rows.inputs.items())
            with as_user_error(f"{who} fails on {which} ({shapes})", _hint(few.inputs)):
                given.append(answers(module, rows.inputs))
                main_output(given[-1])
    if is_lazy(module):
        raise UserError(f"{who} has a lazy layer that its forward does not reach: leave it out.")
    for answered, count in zip(given, (len(few), 1), strict=True):
        others = [name for name, value in answered.items() if not value.ndim or len(value) != count]
        if others:  # a server that answers many requests at once could not tell them apart
            raise UserError(
                f"{who}'s output {others[0]} has no row for each row of a request: return tensors of shape [rows, …] (of "
                "boxes a fixed number, with their scores and a mask), or leave it out."
            )
    return given[0]


def _check_outputs(
    workload: Workload, few: Samples, outputs: dict[str, Tensor], fitted: tuple[Fitted, ...]
) -> None:
    """Raise UserError for names that one graph cannot hold, and for outputs that are not of the goals' shapes."""
    who = f"Workload {workload.name}: its model"
    names = output_names(workload, outputs)
    decided = [name for name in workload.served if name not in workload.outputs]
    if same := _repeated([*few.inputs, *names, *decided]):
        what = "an input" if same in few.inputs else "another output"
        raise UserError(
            f"{who}'s output {same} has the name of {what}, and a graph has one thing of each name: return it as {same}_out."
        )
    _check_places(workload, outputs, names)
    learned = goal_outputs(workload, outputs)
    shapes = {name: tuple(output.shape) for name, output in learned.items()}
    for goal, target, own in zip(workload.goals, few.targets, fitted, strict=True):
        if (needed := goal.misfit(shapes, target.shape, own)) is not None:
            given = " and ".join(str(list(shapes[name])) for name in goal.outputs)
            raise UserError(f"{who} gives outputs of shape {given} for {len(few)} rows; {needed}.")


def _check_places(workload: Workload, outputs: dict[str, Tensor], names: list[str]) -> None:
    """Raise UserError when the goals' outputs are not the first ones, in the goals' order."""
    who = f"Workload {workload.name}: its model"
    learned = ", ".join(workload.outputs)
    places = dict(zip(outputs, names, strict=True))
    if swapped := [name for name in outputs if name in workload.outputs and places[name] != name]:
        raise UserError(
            f"{who} gives {swapped[0]} in another place than its goals have it: return {learned} first, in this order."
        )
    if missing := workload.outputs[len(outputs) :]:
        raise UserError(
            f"{who} gives {len(outputs)} outputs, and its goals are about {learned}: return {missing[0]} too, in this order."
        )


def _hint(inputs: dict[str, Array]) -> str:
    """numpy's floats are of another kind than torch's weights: what goes wrong first in most first workloads."""
    other = [name for name, array in inputs.items() if array.dtype.kind == "f" and array.dtype != "float32"]
    return f"; weights are float32, so give {other[0]}.astype('float32') in inputs()" if other else ""
