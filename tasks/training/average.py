"""A moving average of a module's weights: steadier than the last ones, so it is what is judged and ships."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponentially weighted over the steps, of all of a module's state that is a number; the rest is as it is last.

    The first steps weigh less than the decay says, or the weights that training began with would stay for a thousand steps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after `steps` steps (from 1)."""
        share = 1 - min(self._decay, (1 + steps) / (10 + steps))
        for name, value in self._module.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, share)
            else:
                self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the module has the averaged weights."""
        weights = {name: value.detach().clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.values)
        try:
            yield
        finally:
            self._module.load_state_dict(weights)

    def load(self, values: dict[str, Tensor]) -> None:
        """Go on from values that were kept."""
        for name, value in self.values.items():
            value.copy_(values[name])
