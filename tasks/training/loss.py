"""What a step makes small: the goals' losses, mixed with a teacher's answers when there is one."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.data.arrays import Array, Samples
from tasks.errors import UserError
from tasks.goals.goal import Goal
from tasks.goals.losses import by_row, moved_to, weighed
from tasks.system.sentences import as_user_error
from tasks.training.batches import Batch
from tasks.training.footprint import without_footprint
from tasks.training.module import goal_outputs, predict_goals
from tasks.workloads.workload import Workload

Loss = Callable[[dict[str, Tensor], tuple[Tensor, ...], Tensor | None], Tensor]
"""(outputs by name, each goal's target, what rows weigh or None) to one number."""

GoalLoss = Callable[..., Tensor]
"""(outputs, target, what rows weigh or None) to one number, or to numbers of each row where they weigh."""

BatchLoss = Callable[[Any, Batch], Tensor]

_SOME = 64
"""Targets that are tried on other rows."""


def loss_of(workload: Workload, device: torch.device) -> Loss:
    """The goals' losses, summed by their weights."""
    losses = [
        (goal.outputs, goal.weight, _loss_on(goal.loss, device, weighs=workload.rows.weight is not None))
        for goal in workload.goals
    ]

    def loss(outputs: dict[str, Tensor], targets: tuple[Tensor, ...], rows: Tensor | None = None) -> Tensor:
        first, *others = (
            weight * own([outputs[name] for name in names], target, rows)
            if weight != 1
            else own([outputs[name] for name in names], target, rows)
            for (names, weight, own), target in zip(losses, targets, strict=True)
        )
        return sum(others, start=first)

    return loss


def _loss_on(loss: Any, device: torch.device, *, weighs: bool = False) -> GoalLoss:
    """A goal's loss; where rows weigh, as the weighted mean over them, or what it gives where that is not a number a row."""
    own = moved_to(by_row(loss) if weighs else loss, device)

    def of_rows(outputs: Sequence[Tensor], target: Tensor, weight: Tensor | None = None) -> Tensor:
        value: Tensor = own(*outputs, target)
        return value if weight is None or not value.ndim else weighed(value, weight)

    return of_rows


def batch_loss(workload: Workload, device: torch.device) -> BatchLoss:
    """(what a forward returned, batch) -> scalar: the goals' losses."""
    loss = loss_of(workload, device)

    def of_batch(outputs: Any, batch: Batch) -> Tensor:
        raw = goal_outputs(workload, outputs)
        named = {name: output.float() for name, output in raw.items()}
        return loss(named, tuple(batch.targets.values()), weights_of(workload, batch))

    return of_batch


def weights_of(workload: Workload, batch: Batch) -> Tensor | None:
    """What the rows weigh, where they do not weigh the same."""
    return None if workload.rows.weight is None else batch.weight


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


def check_loss(workload: Workload, module: nn.Module, samples: Samples) -> None:
    """Try each goal's loss on two rows and on three, which no shape fits by chance.

    Raises UserError when one fails, gives no single number, or takes outputs for other rows' targets.
    """
    with without_footprint(module):
        outputs = predict_goals(workload, module, samples[:3].inputs)
    for goal, target in zip(workload.goals, samples.targets, strict=True):
        own = [torch.from_numpy(outputs[name]) for name in goal.outputs]
        _check(workload, goal, own, target)


def _check(workload: Workload, goal: Goal, outputs: list[Tensor], targets: Array) -> None:
    target = torch.from_numpy(np.array(targets[:3]))
    weighs = workload.rows.weight is not None
    loss = _loss_on(deepcopy(goal.loss), target.device, weighs=weighs)  # it may keep what it has seen
    for rows in (2, 3):
        given = " and ".join(str(list(output[:rows].shape)) for output in outputs)
        shapes = f"outputs {given} and a target {target.dtype} {list(target[:rows].shape)}"
        with as_user_error(f"Workload {workload.name}: its loss fails on {shapes}"):
            shape = list(loss([output[:rows] for output in outputs], target[:rows]).shape)
        if weighs and shape[:1] != [rows]:
            raise UserError(
                f"Workload {workload.name}: its rows weigh, and its loss gives {shape or 'one number'} for {shapes}: give a number a row, "
                "as torch's losses do with reduction='none', or leave out rows=Rows(weight=…)."
            )
        if shape and not weighs:
            raise UserError(
                f"Workload {workload.name}: its loss gives {shape} for {shapes}; return one number, such as its mean."
            )
    some = np.linspace(0, len(targets) - 1, min(_SOME, len(targets)), dtype=int)
    if (
        goal.rowwise
        and not weighs
        and _mixes_rows(loss, outputs[0].shape[1:], torch.from_numpy(targets[some]))
    ):
        raise UserError(
            f"Workload {workload.name}: its loss compares each row's output with every row's target, for {shapes} are broadcast against "
            "each other: give it outputs.reshape(target.shape), or return that shape from forward()."
        )


def _mixes_rows(loss: GoalLoss, shape: Sequence[int], target: Tensor) -> bool:
    """Whether a loss of outputs near their targets stays what it is when the targets go to other rows.

    False for one that does not look at targets at all, and where its numbers say nothing, such as NaN.
    """
    if target.ndim > 1 or len(set(target.tolist())) < 2:
        return False
    noise = torch.randn((len(target), *shape), generator=torch.Generator().manual_seed(0))
    near = target.reshape(-1, *(1 for _ in shape)) if target.is_floating_point() else torch.zeros(())
    outputs = near + target.double().std().float() * noise
    turned = [target.roll(turns) for turns in range(1, 8)]
    try:
        with torch.no_grad():
            before, elsewhere, *after = (
                float(loss([outputs], given)) for given in (target, _far_from(target), *turned)
            )
    except Exception:  # of a loss that asks more of real rows than their shape
        return False
    if not np.isfinite(before) or np.isclose(elsewhere, before, rtol=1e-4):
        return False
    return np.allclose(after, before, rtol=1e-4)


def _far_from(target: Tensor) -> Tensor:
    """One target for all rows: a number beyond all of them, for nearer ones may cost the same by chance, or a class of theirs."""
    one = target.max() + 8 * (target.max() - target.min()) if target.is_floating_point() else target[0]
    return one.expand_as(target)


@dataclass(frozen=True)
class DistillationLoss:
    """A teacher, and how much of a student's loss is the distance from the teacher's answers, as each goal's answer has it."""

    workload: Workload
    teacher: nn.Module
    temperature: float
    weight: float

    def mix(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor], loss: Tensor) -> Tensor:
        """The loss of a step with the teacher's part mixed in."""
        with torch.no_grad():
            answers = goal_outputs(self.workload, self.teacher(**inputs))
        distances = [
            goal.answer.distance(outputs[name], answers[name].to(outputs[name].dtype), self.temperature)
            for goal in self.workload.goals
            for name in goal.outputs
        ]
        return (1 - self.weight) * loss + self.weight * sum(distances[1:], start=distances[0])
