"""A name under which one model is served: the version that answers, and the one before it, kept for an instant way back."""

import asyncio
from collections.abc import Callable

from infra.serving.batching import Batcher
from infra.serving.execution import Done
from infra.serving.model import Model
from infra.serving.numbers import Numbers
from infra.serving.options import ServeOptions

Observer = Callable[[Done], None]


class Slot:
    """Where a model's requests go."""

    def __init__(self, name: str, options: ServeOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.current: Model | None = None
        self.previous: Model | None = None
        self.observers: list[Observer] = []
        self.numbers: dict[str, Numbers] = {}
        self.batcher = Batcher(self, loop, options.max_wait, options.timeout)

    def swap(self, model: Model) -> Model | None:
        """Let `model` answer from the next batch on; gives back the version it replaces."""
        model.numbers = self.numbers.setdefault(model.release.version, model.numbers)
        replaced, self.current = self.current, model
        if replaced is not None and replaced is not model:
            self.previous = replaced
        return replaced

    def kept(self, version: str, digest: str) -> Model | None:
        """A version still in memory."""
        for model in (self.current, self.previous):
            if model is not None and (model.release.version, model.release.digest) == (version, digest):
                return model
        return None

    def ran(self, done: Done) -> None:
        for observer in self.observers:
            observer(done)
