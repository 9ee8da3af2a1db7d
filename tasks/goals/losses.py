"""The losses that goals have by themselves: (output, target) to one number. torch is imported where it is used.

With reduction="none", as torch's own have it, they give numbers of each row, which can be weighed.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(output: "Tensor", target: "Tensor", reduction: str = "mean") -> "Tensor":
    """Of logits [n, classes] and codes [n]; of one logit, binary."""
    from torch.nn import functional

    if output.ndim == 1 or output.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(
            output.reshape(target.shape), target.to(output.dtype), reduction=reduction
        )
    return functional.cross_entropy(output, target, reduction=reduction)


def each_cross_entropy(output: "Tensor", target: "Tensor", reduction: str = "mean") -> "Tensor":
    """Of logits [n, …, classes] and codes [n, …]; places below 0 count nowhere."""
    from torch.nn.functional import cross_entropy

    if reduction == "none":
        places = cross_entropy(output.flatten(0, -2), target.flatten(), ignore_index=-100, reduction="none")
        counted = (target >= 0).flatten(1).sum(1).clamp(min=1)
        return places.reshape(len(target), -1).sum(1) / counted
    loss = cross_entropy(output.flatten(0, -2), target.flatten(), ignore_index=-100, reduction="sum")
    return loss / (target >= 0).sum().clamp(min=1)


def binary_cross_entropy(output: "Tensor", target: "Tensor", reduction: str = "mean") -> "Tensor":
    """Of a logit for each label, [n, labels], and whether each applies, 0 or 1."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(output, target.to(output.dtype), reduction=reduction)


def mean_squared_error(output: "Tensor", target: "Tensor", reduction: str = "mean") -> "Tensor":
    from torch.nn.functional import mse_loss

    return mse_loss(output.reshape(target.shape), target, reduction=reduction)


def mean_absolute_error(output: "Tensor", target: "Tensor", reduction: str = "mean") -> "Tensor":
    from torch.nn.functional import l1_loss

    return l1_loss(output.reshape(target.shape), target, reduction=reduction)


@dataclass(frozen=True)
class Pinball:
    """Of quantiles [n, steps, levels] against what came, [n, steps] (Koenker & Bassett 1978)."""

    levels: tuple[float, ...]

    def __call__(self, output: "Tensor", target: "Tensor", reduction: str = "mean") -> "Tensor":
        import torch

        levels = torch.tensor(self.levels, device=output.device, dtype=output.dtype)
        over = target[..., None] - output
        loss = torch.maximum(levels * over, (levels - 1) * over)
        return loss.mean() if reduction == "mean" else loss


def listwise(output: "Tensor", target: "Tensor") -> "Tensor":
    """Cross-entropy between the gains and the scores of a query's rows that are in the batch (ListNet; Cao et al. 2007)."""
    import torch

    queries, places = torch.unique(target[:, 1], return_inverse=True)
    scores, gains = output.reshape(len(target)), target[:, 0].to(output.dtype)
    count = len(queries)
    highest = scores.new_full((count,), -torch.inf).scatter_reduce(0, places, scores.detach(), "amax")
    grown = (scores - highest[places]).exp()
    sums = grown.new_zeros(count).index_add(0, places, grown)
    logs = scores - highest[places] - sums.log()[places]
    total = gains.new_zeros(count).index_add(0, places, gains)
    return -(logs * gains / total.clamp(min=1e-9)[places]).sum() / (total > 0).sum().clamp(min=1)


def contrastive(ours: "Tensor", theirs: "Tensor", target: "Tensor") -> "Tensor":
    """Each row's own partner against those of the batch's other rows, both ways (InfoNCE; van den Oord et al. 2018)."""
    import torch
    from torch.nn import functional

    near = functional.normalize(ours, dim=1) @ functional.normalize(theirs, dim=1).T / 0.1
    own = torch.arange(len(near), device=near.device)
    return (functional.cross_entropy(near, own) + functional.cross_entropy(near.T, own)) / 2


@dataclass(frozen=True)
class InTheTargetsShape:
    """One of torch.nn's losses, all of which broadcast [n, 1] against [n] to [n, n]: it gets outputs in the target's shape."""

    loss: Any

    def __call__(self, output: "Tensor", target: "Tensor") -> Any:
        return self.loss(output.reshape(target.shape) if output.numel() == target.numel() else output, target)

    def by_row(self) -> "InTheTargetsShape":
        return InTheTargetsShape(by_row(self.loss))

    def to(self, device: Any) -> "InTheTargetsShape":
        return InTheTargetsShape(moved_to(self.loss, device))


def fitting(loss: Callable[..., Any] | None) -> Callable[..., Any]:
    """A loss for numbers: squared error when there is none, and torch's own in the target's shape."""
    if loss is None:
        return mean_squared_error
    inner = getattr(loss, "func", loss)
    torchs = (getattr(inner, "__module__", None) or "").startswith("torch.nn.")
    return InTheTargetsShape(loss) if torchs else loss


def moved_to(loss: Any, device: Any) -> Any:
    """A loss on the device where outputs are; one without weights of its own is anywhere."""
    return loss.to(device) if hasattr(loss, "to") else loss


def by_row(loss: Any) -> Any:
    """The same loss as numbers of each row, [n, …], where it has such a form, as torch's have; else as it is."""
    if hasattr(loss, "by_row"):
        return loss.by_row()
    if hasattr(loss, "reduction"):
        loss = copy(loss)
        loss.reduction = "none"
        return loss
    return partial(loss, reduction="none") if "reduction" in signature(loss).parameters else loss


def weighed(values: "Tensor", weight: "Tensor") -> "Tensor":
    """The weighted mean of rows' losses, [n, …] and [n]."""
    rows = values.flatten(1).mean(1) if values.ndim > 1 else values
    return (rows * weight).sum() / weight.sum().clamp(min=1e-12)
