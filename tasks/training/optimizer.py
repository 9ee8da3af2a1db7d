"""The update rule and its learning rate, as the knobs ask."""

import math

import torch
from torch import nn

from tasks.config import Train
from tasks.training.groups import share_of

_MOMENTUM = 0.9


def make_optimizer(module: nn.Module, config: Train) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are to be learned, a group for each share of the rate; fused where torch can."""
    learned = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in learned.values())
    by_share: dict[float, list[nn.Parameter]] = {}
    for name, weight in learned.items():
        by_share.setdefault(share_of(name, config.groups), []).append(weight)
    parameters = [{"params": weights, "share": share} for share, weights in by_share.items()]
    lr, decay = config.lr, config.weight_decay
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=decay, fused=fused)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=fused)
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr, weight_decay=decay)
        case "momentum":
            return torch.optim.SGD(parameters, lr, momentum=_MOMENTUM, weight_decay=decay, fused=fused)
        case "sgd":
            return torch.optim.SGD(parameters, lr, weight_decay=decay, fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Each group learns at its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(config: Train, step: int, steps: int) -> float:
    """The rate of the step numbered `step` (from 0) of `steps`: a rise from near zero, then the schedule's fall to zero.

    A function of the step alone, so that nothing of it has to be saved.
    """
    rising = math.ceil(config.warmup * steps)
    if step < rising:
        return config.lr * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    match config.schedule:
        case "constant":
            return config.lr
        case "linear":
            return config.lr * (1 - done)
        case "cosine":
            return config.lr * (1 + math.cos(math.pi * done)) / 2
