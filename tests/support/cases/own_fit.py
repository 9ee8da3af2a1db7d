"""Churn, trained by loops of one's own: one that goes on to the bit after a kill, and those that do not."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.config import Train
from tasks.workloads import Batch, Training
from tasks.workloads.templates.table import workload as churn

if TYPE_CHECKING:
    from torch import Tensor, nn


def fit(module: "nn.Module", training: Training, order: str = "ours") -> None:
    import torch

    optimizer = torch.optim.AdamW(module.parameters(), training.config.lr)
    first = 0
    if state := training.resume():
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    generator = torch.Generator().manual_seed(0)
    for epoch in range(first, training.config.epochs):
        module.train()
        for batch in training.batches(epoch):
            loss = training.loss(module(**batch.inputs), batch)
            if order == "theirs":
                loss = loss * torch.rand(1, generator=generator).item()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        training.offer(module, epoch=epoch)
        states = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        training.save(states, epoch=epoch)


def mixup(module: "nn.Module", batch: Batch) -> "Tensor":
    import torch
    from torch.nn import functional

    (target,) = batch.targets.values()
    share, other = torch.rand(1).item(), torch.randperm(len(batch))
    numbers = batch.inputs["numbers"].lerp(batch.inputs["numbers"][other], share)
    logits = module(numbers=numbers, plan=batch.inputs["plan"])
    own, others = functional.cross_entropy(logits, target), functional.cross_entropy(logits, target[other])
    return own.lerp(others, share)


train = Train(epochs=3, lr=2e-3)
workload = replace(churn, name="own-fit", train=train, fit=fit, recipes=())
with_a_generator = replace(workload, fit=lambda module, training: fit(module, training, order="theirs"))
stepped = replace(workload, name="own-step", fit=None, step=mixup)
