"""What a forward leaves on a module (a cached tensor, a counted call, a renormalised weight), and how it is taken back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin


@contextmanager
def without_footprint(module: nn.Module) -> Iterator[None]:
    """Within, the module may run and be traced; after it, it is what it was, tensors that it keeps included.

    What tracing leaves in a cache is of no use to a later call, and what a first call keeps would decide what is trained.
    A lazy layer that takes its shape meanwhile keeps it.
    """
    takes_back = [take_back for part in module.modules() for take_back in _remembered(part)]
    try:
        yield
    finally:
        with torch.no_grad():
            for take_back in takes_back:
                take_back()


def is_lazy(module: nn.Module) -> bool:
    """Whether a layer of it still waits for its first inputs."""
    return any(nn.parameter.is_lazy(tensor) for tensor in chain(module.parameters(), module.buffers()))


def _remembered(part: nn.Module) -> Iterator[Callable[[], object]]:
    """How one layer's attributes, the containers among them and the values of its tensors are put back."""
    if isinstance(part, LazyModuleMixin):
        return
    attributes = vars(part)
    for value in [attributes, *attributes.values()]:
        if isinstance(value, dict):
            yield _content_of(value, dict.update)
        elif isinstance(value, list):
            yield _content_of(value, list.extend)
        elif isinstance(value, set):
            yield _content_of(value, set.update)
    own = chain(part._parameters.values(), part._buffers.values(), attributes.values())
    yield from (
        _values_of(tensor) for tensor in own if isinstance(tensor, Tensor) and not tensor.is_inference()
    )


def _content_of(container: Any, fill: Callable[[Any, Any], None]) -> Callable[[], object]:
    content = container.copy()

    def put_back() -> None:
        container.clear()
        fill(container, content)

    return put_back


def _values_of(tensor: Tensor) -> Callable[[], object]:
    values = (
        tensor.detach().clone()
    )  # its version does not tell: batch normalisation writes its statistics past it
    return lambda: None if torch.equal(tensor, values) else tensor.copy_(values)
