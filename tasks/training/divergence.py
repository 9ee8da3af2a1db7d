"""Why a loss is not a number: looked up in the rows, the losses before and the weights, before anything is said."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from tasks.data.arrays import Array, Samples

_LARGE = 1e4


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
