"""One training step on one batch: the loss, how long it takes, and which weights it would leave as they are."""

import time

import torch
from torch import nn

from tasks.config import Train
from tasks.data.dataset import read_split
from tasks.errors import UserError
from tasks.records import Dataset
from tasks.system.frozen import Frozen
from tasks.system.sentences import as_user_error
from tasks.training.batches import Batch, order_of, take
from tasks.training.footprint import without_footprint
from tasks.training.groups import check_groups, freeze, learning_mode
from tasks.training.loss import batch_loss, check_loss, own_step
from tasks.training.randomness import random_numbers_lock, seed_everything
from tasks.workloads.workload import Workload


class DryRun(Frozen):
    """What a step came to; `steps` is how many there are in all epochs."""

    rows: int
    loss: float
    seconds: float
    steps: int
    without_gradient: tuple[str, ...]


def dry_run(module: nn.Module, workload: Workload, dataset: Dataset, config: Train) -> DryRun:
    """Forward and backward on the first batch, twice: the second time is the one that counts. The module stays as it is.

    Raises UserError for a model that fails, and for a loss that fails, is no single finite number, or reaches no weight.
    """
    samples = read_split(dataset, "train")
    check_loss(workload, module, samples)
    check_groups(module, config.groups)
    order = order_of(workload, samples, config.batch_size, config.seed)
    batch = take(workload, samples, order.rows(0), torch.device("cpu"))
    learned = [weight for weight in module.parameters() if weight.requires_grad]
    with random_numbers_lock, without_footprint(module):
        seed_everything(config.seed)
        freeze(module, config.groups)
        learning_mode(module, config.groups)
        for _ in range(2):
            started = time.perf_counter()
            loss = _step(workload, module, batch)
            seconds = time.perf_counter() - started
    bare = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    module.zero_grad()
    for weight in learned:
        weight.requires_grad_(True)
    return DryRun(
        rows=len(batch),
        loss=loss.item(),
        seconds=seconds,
        steps=order.steps_an_epoch * config.epochs,
        without_gradient=tuple(bare),
    )


def _step(workload: Workload, module: nn.Module, batch: Batch) -> torch.Tensor:
    """Forward and backward; what a user's module or step raises, in a sentence."""
    module.zero_grad()
    what = "its model fails" if workload.step is None else "its step fails"
    with as_user_error(f"Workload {workload.name}: {what} in training, on a batch of {len(batch)}"):
        if workload.step is None:
            loss = batch_loss(workload, batch.weight.device)(module(**batch.inputs), batch)
        else:
            loss = own_step(workload, module, batch)
        _check(workload, loss)
        loss.backward()  # type: ignore[no-untyped-call]
    return loss


def _check(workload: Workload, loss: torch.Tensor) -> None:
    if not loss.isfinite():
        raise UserError(
            f"Workload {workload.name}: its loss on the first batch is {loss.item()}: look for NaN in its inputs, a division or a log of 0."
        )
    if not loss.requires_grad:
        raise UserError(
            f"Workload {workload.name}: no weight of the model reaches its loss: is there a detach(), a no_grad(), or nothing to train?"
        )
