"""Unstructured pruning: the smallest weights of all layers together become, and stay, zero."""

import torch
from torch import nn
from torch.nn.utils import parametrize

Weighted = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def mask_smallest(module: nn.Module, ratio: float) -> bool:
    """Hold the share `ratio` of all weights that are learned, those of least magnitude, at zero; False when there are none."""
    bake_masks(module)
    layers = [layer for layer in _layers(module) if layer.weight.requires_grad]
    if not layers:
        return False
    sizes = torch.cat([layer.weight.detach().abs().flatten() for layer in layers])
    threshold = sizes.kthvalue(max(1, int(ratio * len(sizes)))).values
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _Mask(layer.weight.detach().abs() > threshold))
    return True


def bake_masks(module: nn.Module) -> int:
    """Make the masked weights plain ones again, zeros included, and return how many weights are zero."""
    for layer in _layers(module):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return sum(int((layer.weight == 0).sum()) for layer in _layers(module))


def _layers(module: nn.Module) -> list[Weighted]:
    return [layer for layer in module.modules() if isinstance(layer, Weighted)]


class _Mask(nn.Module):
    kept: torch.Tensor

    def __init__(self, kept: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.kept
