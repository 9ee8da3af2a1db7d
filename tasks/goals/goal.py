"""A goal: what is learned of a row (target, loss), what is said of it (answer) and how good that is (metric)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.goals.answer import Answer
from tasks.goals.metric import Arrays, Metric
from tasks.goals.target import GoalError, Target
from tasks.records import Fitted

__all__ = ["Goal", "GoalError"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One thing to learn. `Classify`, `Regress` and the others make one; `replace(Classify("x"), metric=…)` changes a part.

    `outputs` are the names of the model's outputs that it is about, the first ones of `forward`, in the order of the goals.
    `loss` is asked (*outputs, target) and gives one number; of several goals the losses are summed by `weight`. `rowwise` says
    that each row's loss should be of its own target alone, which is tried before training. `details` are said beside the score:
    their `sums` find the model's inputs among the answers (`input_called`), and `finish` may give several numbers.
    """

    name: str
    target: Target
    outputs: tuple[str, ...]
    loss: Callable[..., Any]
    answer: Answer
    metric: Metric
    details: tuple[Metric, ...] = ()
    weight: float = 1.0
    rowwise: bool = False

    @property
    def said(self) -> str:
        """`classification of 'left'`."""
        return f"{self.name} of {self.target.said}"

    @property
    def served(self) -> tuple[str, ...]:
        """The names of what comes back from the file that ships."""
        return self.answer.served(self.outputs)

    def decide(self, outputs: Arrays, fitted: Fitted) -> Arrays:
        """What is said of rows, from a model's own outputs by name or from what a file that decides answers."""
        if self.served[0] in outputs:
            return self.answer.read([outputs[name] for name in self.served], fitted)
        return self.answer.decide([outputs[name] for name in self.outputs], fitted)

    def misfit(
        self, outputs: dict[str, tuple[int, ...]], target: tuple[int, ...], fitted: Fitted
    ) -> str | None:
        """Which shape is needed for outputs of these shapes and such a target, in words; None where they fit."""
        shapes = [outputs[name] for name in self.outputs]
        expected = self.answer.misfit(shapes, target, fitted, self.rowwise)
        return None if expected is None else f"{expected} is needed for {self.name}"
