"""A module that was looked at is the module that it was."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.training.footprint import is_lazy, without_footprint


class Keeping(nn.Module):
    """Leaves something behind of every kind at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4, max_norm=0.1)
        self.register_buffer("calls", torch.zeros(()))
        self.kept: Any = None
        self.by_length: dict[int, torch.Tensor] = {}
        self.seen: list[int] = []
        self.plain = torch.zeros(2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.plain[0] = 3.0
        self.kept = torch.ones(4)
        self.by_length[words.shape[1]] = self.kept
        self.seen.append(len(words))
        self.added = nn.Linear(4, 4)
        self.register_buffer("late", torch.ones(1), persistent=False)
        result: torch.Tensor = self.embed(words).sum(1)
        return result


def state(module: Keeping) -> Any:
    numbers = [tensor.clone() for tensor in (module.embed.weight, module.calls, module.plain)]
    names = sorted(vars(module)), sorted(module._modules), sorted(module._buffers), module.training
    return names, module.kept, dict(module.by_length), list(module.seen), [n.tolist() for n in numbers]


def test_whatever_a_forward_leaves_on_a_module_is_taken_back() -> None:
    module, words = Keeping(), torch.arange(4).reshape(2, 2)
    before = state(module)
    with without_footprint(module):
        module.eval()
        module(words)
        assert state(module) != before
    assert state(module) == before


def test_it_is_also_when_the_forward_fails() -> None:
    module = Keeping()
    with pytest.raises(IndexError), without_footprint(module):
        module(torch.tensor([[9]]))
    assert module.kept is None and module.calls == 0


def test_a_lazy_layer_keeps_the_shape_that_it_took_and_its_parent_nothing() -> None:
    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = nn.LazyLinear(2), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            result: torch.Tensor = self.layer(x)
            return result

    module = Parent()
    assert is_lazy(module)
    with torch.no_grad(), without_footprint(module):
        module(torch.ones(3, 5))
    assert not is_lazy(module) and module.seen == 0
    assert type(module.layer) is nn.Linear and module.layer.in_features == 5
    assert module.layer.weight.requires_grad and module.layer(torch.ones(1, 5)).requires_grad
