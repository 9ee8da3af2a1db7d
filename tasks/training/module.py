"""The module of a workload: built from a seed, loaded from a checkpoint, and asked for its outputs."""

from collections.abc import Iterator, Mapping
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
from tasks.training.footprint import is_lazy, without_footprint
from tasks.training.given import check_inputs, module_of, signature_of
from tasks.training.randomness import random_numbers_lock, seed_everything
from tasks.workloads.model_files import Known
from tasks.workloads.workload import Workload, not_a_module


def build_module(workload: Workload, dataset: Dataset, model: str | None = None, seed: int = 0) -> nn.Module:
    """A new module with seeded weights, on the CPU, that was seen to take the workload's inputs.

    Raises UserError when it cannot be built, takes other names, fails on real rows or gives outputs of the wrong shape.
    """
    return build_from(workload, read_split(dataset, "train"), dataset.classes, model, seed)


def build_from(
    workload: Workload, samples: Samples, classes: tuple[str, ...] | None, model: str | None, seed: int
) -> nn.Module:
    """The same from training rows in memory."""
    known = Known(samples.inputs, classes, workload.bases, workload.output_name)
    with as_user_error(f"Workload {workload.name}: its model was not built"), random_numbers_lock:
        seed_everything(seed)
        module = module_of(workload.builder(model), known)
        if not isinstance(module, nn.Module):
            raise UserError(f"Workload {workload.name}: {not_a_module(module)}")
        _check_names(workload, module, list(samples.inputs))
        few = samples[:2]
        check_inputs(module, few.inputs, workload.dynamic)
        outputs = _first_outputs(workload, module, few)  # here: lazy layers draw their weights in it
    _check_outputs(workload, module, few, outputs, classes)
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


def main_output(outputs: Any) -> Tensor:
    """The output that is learned and scored: the first. Others are exported and served beside it."""
    if isinstance(outputs, Tensor):
        return outputs
    first = next(iter(all_outputs(outputs).values()), None)
    if first is None:
        raise TypeError("forward() returned no tensor")
    return first


def output_names(workload: Workload, outputs: dict[str, Tensor]) -> list[str]:
    """The first output has the workload's name; a dict's others keep their keys, a tuple's are numbered."""
    return [workload.output_name, *list(outputs)[1:]]


def answers(module: nn.Module, inputs: dict[str, Array]) -> dict[str, Tensor]:
    """All outputs for these rows, by name, computed in evaluation mode where the module's weights are.

    Not in torch's inference mode: what a module keeps of its first call could not be trained with.
    """
    weights = chain(module.parameters(), module.buffers())
    device = next((tensor.device for tensor in weights), torch.device("cpu"))
    training = module.training
    module.eval()
    with torch.no_grad():
        tensors = {name: torch.from_numpy(np.array(array)).to(device) for name, array in inputs.items()}
        outputs = all_outputs(module(**tensors))
    module.train(training)
    return {name: output.detach() for name, output in outputs.items()}


def predict(module: nn.Module, inputs: dict[str, Array], batch_size: int = 256) -> Array:
    """The module's raw (first) output for all rows, float32[n, ...]."""
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), batch_size):
        batch = {name: array[start : start + batch_size] for name, array in inputs.items()}
        parts.append(main_output(answers(module, batch)).float().cpu().numpy())
    return np.concatenate(parts)


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
    who = f"Workload {workload.name}: its model"
    shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in few.inputs.items())
    with as_user_error(f"{who} fails on its own inputs ({shapes})", _hint(few.inputs)):
        with without_footprint(module):
            outputs = answers(module, few.inputs)
            main_output(outputs)
            alone = answers(module, few[:1].inputs)
    if is_lazy(module):
        raise UserError(f"{who} has a lazy layer that its forward does not reach: leave it out.")
    for answered, rows in ((outputs, len(few)), (alone, 1)):
        others = [name for name, value in answered.items() if not value.ndim or len(value) != rows]
        if others:  # a server that answers many requests at once could not tell them apart
            raise UserError(
                f"{who}'s output {others[0]} has no row for each row of a request: return tensors of shape [rows, …], or leave it out."
            )
    return outputs


def _check_outputs(
    workload: Workload,
    module: nn.Module,
    few: Samples,
    outputs: dict[str, Tensor],
    classes: tuple[str, ...] | None,
) -> None:
    """Raise UserError for names that one graph cannot hold, and for answers that are not of the workload's kind."""
    who = f"Workload {workload.name}: its model"
    names = output_names(workload, outputs)
    if same := _repeated([*few.inputs, *names]):
        what = "an input" if same in few.inputs else "another output"
        raise UserError(
            f"{who}'s output {same} has the name of {what}, and a graph has one thing of each name: return it as {same}_out."
        )
    main = main_output(outputs)
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
