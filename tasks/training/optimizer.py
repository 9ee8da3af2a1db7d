"""The update rule and its learning rate, as the knobs ask."""

import math

import torch
from torch import nn

from tasks.config import Train

_MOMENTUM = 0.9


def make_optimizer(module: nn.Module, config: Train) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are to be learned; one fused kernel a step where torch has it."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
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
