"""Fewer weights: whole channels (smaller and faster everywhere), or single weights (smaller only when compressed)."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.compress.base import Job, Refused
from tasks.compress.teach import Taught

if TYPE_CHECKING:
    from torch import nn


class Prune(Taught):
    """Removes what weighs least, at once or in rounds, and trains what is left."""

    kind: Literal["prune"] = "prune"
    method: Literal["structured", "unstructured"] = Field(
        "structured", description="Channels, or single weights (l1)."
    )
    ratio: float = Field(
        gt=0, lt=1, description="Share of each layer's channels, or of all weights, that goes."
    )
    multiple_of: int = Field(
        4, ge=1, le=1024, description="Channels kept are a multiple of this: kernels like it."
    )
    rounds: int = Field(1, ge=1, le=100, description="Remove little by little, training after each round.")

    def apply(self, module: "nn.Module", job: Job, folder: Path) -> "tuple[nn.Module, tuple[str, ...]]":
        if self.method == "unstructured":
            return self._unstructured(module, job, folder)
        from tasks.compress.channels import remove_channels

        before = count(module)
        for _ in remove_channels(module, job, self.ratio, self.rounds, self.multiple_of):
            module = self.train(module, job, folder)
        return module, (f"{count(module):,} of {before:,} parameters left",)

    def _unstructured(
        self, module: "nn.Module", job: Job, folder: Path
    ) -> "tuple[nn.Module, tuple[str, ...]]":
        from tasks.compress.masks import bake_masks, mask_smallest

        for number in range(1, self.rounds + 1):
            if not mask_smallest(module, self.ratio * number / self.rounds):
                raise Refused("nothing to prune: no convolution and no linear layer")
            module = self.train(module, job, folder)
        zeros = bake_masks(module)
        return module, (
            f"{zeros:,} of {count(module):,} weights are zero: only a compressed transfer is smaller",
        )


def count(module: "nn.Module") -> int:
    """How many parameters the module has."""
    return sum(parameter.numel() for parameter in module.parameters())
