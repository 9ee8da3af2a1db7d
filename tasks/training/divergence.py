"""Losses watched, and why one is not a number: looked up in the rows, the losses before and the weights, before anything is said."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tasks.data.arrays import Array, Samples
from tasks.training.batches import Order
from tasks.training.unfinished import DivergedError

_LARGE = 1e4

_LOOK_EVERY = 50


@dataclass
class LossWatch:
    """Looks at losses at once where that is free, and every now and then where it would stop the GPU."""

    samples: Samples
    order: Order
    steps: int
    rate: Callable[[int], float]
    note: Callable[[int, float], None]
    """Is told each finite loss, by its step from 0."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    _unseen: list[tuple[int, Tensor]] = field(default_factory=list)

    def add(self, step: int, loss: Tensor, module: nn.Module) -> None:
        """Take the loss that `module`, as it is, gave at a step. Raises DivergedError for one that is not finite."""
        if loss.device.type == "cpu":
            self._see(step, loss.item(), module)
            return
        self._unseen.append((step, loss.detach()))
        if len(self._unseen) == _LOOK_EVERY:
            self.look(module)

    def look(self, module: nn.Module | None = None) -> None:
        """Look at what was taken; `module` gave the last of it and was not updated since."""
        losses = torch.stack([loss for _, loss in self._unseen]).tolist() if self._unseen else []
        last = len(losses) - 1
        for place, ((step, _), loss) in enumerate(zip(self._unseen, losses, strict=True)):
            self._see(step, loss, module if place == last else None)
        self._unseen.clear()

    def _see(self, step: int, loss: float, weights: nn.Module | None) -> None:
        if not math.isfinite(loss):
            why = why_not_finite(self.samples, self.order.rows(step), self.recent, weights, self.rate(step))
            raise DivergedError(f"The loss is {loss} at step {step + 1} of {self.steps}: {why}.")
        self.recent.append(loss)
        self.note(step, loss)


def why_not_finite(
    samples: Samples, index: Array, losses: Sequence[float], module: nn.Module | None, lr: float
) -> str:
    """The likely cause of a loss that is NaN or infinite, and the fix, to follow a colon.

    `index` are the rows of that step, `losses` the finite ones before it, `module` the one that gave it (None when it
    has been updated since and says nothing any more).
    """
    for name, array in samples.named:
        if cell := _not_finite(array, index):
            what = f"input {name!r}" if name in samples.inputs else "the target"
            return f"{what} {cell}; clean it in the workload's load() or forbid it in its schema"
    if len(losses) > 1 and losses[-1] > 10 * min(losses):
        return f"the loss had already grown from {min(losses):.3g} to {losses[-1]:.3g}, {_slower(lr)}"
    if module is None:
        return f"its rows are finite; lower train.lr={lr:g}, or look for log(0) or a division by zero in the model or its loss"
    return _why_by_weights(module, lr, first=not losses)


def _why_by_weights(module: nn.Module, lr: float, first: bool) -> str:
    largest = max((float(p.detach().abs().max()) for p in module.parameters() if p.numel()), default=0.0)
    if not largest < float("inf") and first:
        return "the model starts with weights that are NaN or infinite; see how it is built"
    if not largest < float("inf"):
        return f"the update before it made the weights NaN; look for a square root or a norm at zero, or lower train.lr={lr:g}"
    if largest > _LARGE:
        return f"the weights had grown to {largest:.3g}, {_slower(lr)}"
    return "its rows and weights are finite; look for log(0) or a division by zero in the model or its loss"


def _slower(lr: float) -> str:
    return f"so the learning rate is too high; lower train.lr={lr:g}"


def _not_finite(array: Array, index: Array) -> str | None:
    values = np.asarray(array)[index]
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return None
    row, *cell = np.argwhere(~np.isfinite(values))[0]
    place = f" at [{', '.join(map(str, cell))}]" if cell else ""
    return f"is {values[(row, *cell)]} in row {index[row]} of the training split{place}"
