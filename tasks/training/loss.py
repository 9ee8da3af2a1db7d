"""What a step makes small: the workload's loss, mixed with a teacher's answers when there is one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Module, functional

from tasks.data.arrays import Samples
from tasks.errors import UserError
from tasks.system.sentences import as_user_error
from tasks.training.footprint import without_footprint
from tasks.training.module import main_output, predict
from tasks.workloads.workload import Workload

Loss = Callable[[Tensor, Tensor], Tensor]


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

    if isinstance(workload.loss, Module):
        return workload.loss.to(device)
    return workload.loss or (squared if workload.kind == "regression" else entropy)


def check_loss(workload: Workload, module: nn.Module, samples: Samples) -> None:
    """Try the loss on two rows. Raises UserError when the workload's own one fails or gives no single number."""
    with without_footprint(module):
        outputs = torch.from_numpy(predict(module, samples[:2].inputs))
    target = torch.from_numpy(np.array(samples.target[:2]))
    shapes = f"outputs {list(outputs.shape)} and a target {target.dtype} {list(target.shape)}"
    with as_user_error(f"Workload {workload.name}: its loss fails on {shapes}"):
        shape = list(loss_of(workload, outputs.device)(outputs, target).shape)
    if shape:
        raise UserError(
            f"Workload {workload.name}: its loss gives {shape} for {shapes}; return one number, such as its mean."
        )


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
