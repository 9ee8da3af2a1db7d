"""What a step makes small: the workload's loss, mixed with a teacher's answers when there is one."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Module, functional

from tasks.data.arrays import Samples
from tasks.errors import UserError
from tasks.system.sentences import as_user_error
from tasks.training.batches import Batch
from tasks.training.footprint import without_footprint
from tasks.training.module import main_output, predict
from tasks.workloads.workload import Workload

Loss = Callable[[Tensor, Tensor], Tensor]

BatchLoss = Callable[[Any, Batch], Tensor]

_SOME = 64
"""Targets that are tried on other rows."""


def loss_of(workload: Workload, device: torch.device) -> Loss:
    """(outputs, target) -> scalar: the workload's own, or cross-entropy (of one logit: binary) or mean squared error."""

    def squared(outputs: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(outputs.reshape(target.shape), target)

    def entropy(outputs: Tensor, target: Tensor) -> Tensor:
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            return functional.binary_cross_entropy_with_logits(
                outputs.reshape(target.shape), target.to(outputs.dtype)
            )
        return functional.cross_entropy(outputs, target)

    own: Loss | None = workload.loss.to(device) if isinstance(workload.loss, Module) else workload.loss
    if own is None:
        return squared if workload.kind == "regression" else entropy
    return _on_shapes_of_the_target(own) if workload.kind == "regression" and _is_torchs(own) else own


def batch_loss(workload: Workload, device: torch.device) -> BatchLoss:
    """(what a forward returned, batch) -> scalar: the loss of the first output."""
    loss = loss_of(workload, device)
    return lambda outputs, batch: loss(main_output(outputs).float(), batch.targets[workload.output_name])


def own_step(workload: Workload, module: nn.Module, batch: Batch) -> Tensor:
    """The loss of a batch by the workload's own step. Raises UserError when that is no single number."""
    assert workload.step is not None
    loss = workload.step(module, batch)
    if not isinstance(loss, Tensor) or loss.ndim:
        got = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise UserError(
            f"Workload {workload.name}: its step gives {got}: return one number as a tensor, such as the mean of the losses."
        )
    return loss.float()


def _is_torchs(loss: Any) -> bool:
    """Whether a loss is one of torch.nn's, of which all that take a number a row broadcast [n, 1] against [n] to [n, n]."""
    inner = getattr(loss, "func", loss)
    return (getattr(inner, "__module__", None) or "").startswith("torch.nn.")


def _on_shapes_of_the_target(loss: Loss) -> Loss:
    def fitted(outputs: Tensor, target: Tensor) -> Tensor:
        return loss(outputs.reshape(target.shape) if outputs.numel() == target.numel() else outputs, target)

    return fitted


def check_loss(workload: Workload, module: nn.Module, samples: Samples) -> None:
    """Try the loss on two rows and on three, which no shape fits by chance.

    Raises UserError when the workload's own one fails, gives no single number, or takes outputs for other rows' targets.
    """
    with without_footprint(module):
        outputs = torch.from_numpy(predict(module, samples[:3].inputs))
    target = torch.from_numpy(np.array(samples.target[:3]))
    loss = loss_of(
        replace(workload, loss=deepcopy(workload.loss)), outputs.device
    )  # it may keep what it has seen
    for rows in (2, 3):
        shapes = (
            f"outputs {list(outputs[:rows].shape)} and a target {target.dtype} {list(target[:rows].shape)}"
        )
        with as_user_error(f"Workload {workload.name}: its loss fails on {shapes}"):
            shape = list(loss(outputs[:rows], target[:rows]).shape)
        if shape:
            raise UserError(
                f"Workload {workload.name}: its loss gives {shape} for {shapes}; return one number, such as its mean."
            )
    some = np.linspace(0, len(samples) - 1, min(_SOME, len(samples)), dtype=int)
    if workload.loss is not None and _mixes_rows(
        loss, outputs.shape[1:], torch.from_numpy(samples.target[some])
    ):
        raise UserError(
            f"Workload {workload.name}: its loss compares each row's output with every row's target, for {shapes} are broadcast against "
            "each other: give it outputs.reshape(target.shape), or return that shape from forward()."
        )


def _mixes_rows(loss: Loss, shape: Sequence[int], target: Tensor) -> bool:
    """Whether a loss of outputs near their targets stays what it is when the targets go to other rows.

    False for one that does not look at targets at all, and where its numbers say nothing, such as NaN.
    """
    if len(set(target.tolist())) < 2:
        return False
    noise = torch.randn((len(target), *shape), generator=torch.Generator().manual_seed(0))
    near = target.reshape(-1, *(1 for _ in shape)) if target.is_floating_point() else torch.zeros(())
    outputs = near + target.double().std().float() * noise
    turned = [target.roll(turns) for turns in range(1, 8)]
    try:
        with torch.no_grad():
            before, same, *after = (
                float(loss(outputs, given)) for given in (target, target[:1].expand_as(target), *turned)
            )
    except Exception:  # of a loss that asks more of real rows than their shape
        return False
    if not np.isfinite(before) or np.isclose(same, before, rtol=1e-4):
        return False
    return np.allclose(after, before, rtol=1e-4)


@dataclass(frozen=True)
class DistillationLoss:
    """A teacher, and how much of a student's loss is the distance from the teacher's answers.

    Classification: KL divergence of the softened probabilities, times temperature² (Hinton et al. 2015,
    arXiv:1503.02531); regression and one logit: mean squared error.
    """

    workload: Workload
    teacher: nn.Module
    temperature: float
    weight: float

    def mix(self, inputs: dict[str, Tensor], outputs: Tensor, loss: Tensor) -> Tensor:
        """The loss of a step with the teacher's part mixed in."""
        with torch.no_grad():
            answers = main_output(self.teacher(**inputs)).to(outputs.dtype)
        if self.workload.kind == "regression" or outputs.ndim == 1 or outputs.shape[1] == 1:
            distance = functional.mse_loss(outputs, answers.reshape(outputs.shape))
        else:
            ours = functional.log_softmax(outputs / self.temperature, dim=1)
            theirs = functional.log_softmax(answers / self.temperature, dim=1)
            distance = (
                functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * self.temperature**2
            )
        return (1 - self.weight) * loss + self.weight * distance
