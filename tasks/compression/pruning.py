"""Fewer weights: whole channels (smaller and faster everywhere), or single weights (smaller only when compressed)."""

from typing import TYPE_CHECKING

from tasks.compression.method import Context, NotApplicable, TorchMethod
from tasks.recipes import Prune

if TYPE_CHECKING:
    from torch import nn


class Pruning(Prune, TorchMethod):
    """Removes what weighs least, at once or in rounds, and trains what is left."""

    def apply(self, module: "nn.Module", context: Context) -> "tuple[nn.Module, tuple[str, ...]]":
        if self.method == "unstructured":
            return self._unstructured(module, context)
        import numpy as np
        import torch

        from tasks.compression.channels import remove_channels
        from tasks.data.dataset import read_split

        few = read_split(context.dataset, "train")[:2].inputs
        example = {name: torch.from_numpy(np.array(array)) for name, array in few.items()}
        before = count(module)
        for _ in remove_channels(module, example, self.ratio, self.rounds, self.multiple_of):
            module = self.train(module, context)
        return module, (f"{count(module):,} of {before:,} parameters left",)

    def _unstructured(self, module: "nn.Module", context: Context) -> "tuple[nn.Module, tuple[str, ...]]":
        from tasks.compression.masks import bake_masks, mask_smallest

        for number in range(1, self.rounds + 1):
            if not mask_smallest(module, self.ratio * number / self.rounds):
                raise NotApplicable("nothing to prune: no convolution and no linear layer that is learned")
            module = self.train(module, context)
        zeros = f"{bake_masks(module):,} of {count(module):,} weights are zero"
        return module, (f"{zeros}: only a compressed transfer is smaller",)


def count(module: "nn.Module") -> int:
    """How many parameters the module has."""
    return sum(parameter.numel() for parameter in module.parameters())
