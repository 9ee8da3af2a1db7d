"""What is said of a row: from a model's outputs to a decision. A closed family: `Values` and `Quantiles` here; `One`, `Many`, `Each`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from tasks.goals.metric import Array, Arrays
from tasks.records import Fitted

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.goals.heads import Axes, Head

Shape = tuple[int, ...]

_MOVED = 0.01
"""The share of the answers' own spread by which a value may move and still count as the same answer."""


class Pairs(NamedTuple):
    """What was true and what was said, number by number, [m]; with the words of a code, where they are codes."""

    truth: Array
    said: Array
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer(ABC):
    """What the steps of a pipeline ask of an answer; rows are axis 0 throughout. `alone`: one word is all that is said of a row.

    `undecided`: the model's outputs are what is served, under their own names, and whoever asks decides. `raw`: they are served
    beside the decision. `thresholds`: `fit` learns some of validation rows, and else looks at none.
    """

    undecided: bool = False
    raw: bool = False
    thresholds: bool = False
    alone: ClassVar[bool] = False

    def served(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """The names under which the answer comes back, of a model's outputs of these names."""
        return outputs

    def head(self, outputs: Mapping[str, "Axes"], fitted: Fitted) -> "Head | None":
        """The decision as ONNX nodes behind outputs of these shapes; None where the outputs are the answer."""
        return None

    def fit(self, outputs: Sequence[Array], target: Array, fitted: Fitted) -> tuple[Fitted, tuple[str, ...]]:
        """What the decision learns of validation rows, such as thresholds; and, in words, what it could not learn."""
        return fitted, ()

    def read(self, served: Sequence[Array], fitted: Fitted) -> Arrays:
        """What `decide` gives, from what a file answers."""
        return self.decide(served, fitted)

    def comparable(self, theirs: Fitted, ours: Fitted) -> bool:
        """Whether answers of a file that knows other classes can be held to ours, by their words."""
        return theirs.classes == ours.classes

    def aligned(self, served: Sequence[Array], theirs: Fitted, ours: Fitted) -> list[Array]:
        """A comparable file's answers with its classes in our order."""
        return [*served]

    @abstractmethod
    def decide(self, outputs: Sequence[Array], fitted: Fitted) -> Arrays:
        """The decision by name, and as `numbers` those that are served: what metrics, parity and drift look at."""

    @abstractmethod
    def misfit(self, shapes: Sequence[Shape], target: Shape, fitted: Fitted, own_loss: bool) -> str | None:
        """The shape that the outputs (first row axis included) should have for such a target; None for one that fits."""

    @abstractmethod
    def distance(self, ours: "Tensor", theirs: "Tensor", temperature: float) -> "Tensor":
        """How far a student's output lies from its teacher's, one number."""

    def doubt(self, shapes: Sequence[Shape], fitted: Fitted) -> str | None:
        """What of the outputs is never learned, in words."""
        return None

    def within(self, answer: Arrays, target: Array) -> Arrays:
        """The answer without what it says of places where rows have nothing, as their target has them."""
        return answer

    def changed(self, ours: Arrays, theirs: Arrays) -> Array:
        """bool[n]: rows on which two answers decide otherwise; numbers decide nothing."""
        return np.zeros(len(ours["numbers"]), dtype=bool)

    def moved(self, ours: Arrays, theirs: Arrays) -> Array:
        """bool[n]: rows that are answered otherwise: another decision, or a number that moved by a share of their spread."""
        return self.changed(ours, theirs)

    @abstractmethod
    def focus(self, answer: Arrays, row: Arrays) -> Array:
        """The number that an explanation is of, float64[n], where `row` is the answer [1, …] to explain."""

    @abstractmethod
    def words(self, answer: Arrays, fitted: Fitted) -> list[str]:
        """Each row's answer as people read it."""

    def watched(self, answer: Arrays) -> Array:
        """What of the answers is held against those of the test rows, [n]."""
        flat: Array = answer["numbers"].reshape(len(answer["numbers"]), -1)[:, 0]
        return flat

    @abstractmethod
    def pairs(self, target: Array, answer: Arrays, fitted: Fitted) -> Pairs:
        """For a picture of the errors."""

    @abstractmethod
    def of_target(self, target: Array, fitted: Fitted) -> Array:
        """The output of a model that is right on every row."""

    def wrong(self, target: Array, fitted: Fitted) -> Array:
        """The output of one that is far from it."""
        return np.roll(self.of_target(target, fitted), 1, axis=-1)

    def constant(self, target: Array, fitted: Fitted) -> Array:
        """The output of one that says the same of every row, as well as that can be done: the most frequent, the mean."""
        codes = np.bincount(target[target >= 0].astype(int).ravel(), minlength=1)
        return self.of_target(np.full_like(target, codes.argmax()), fitted)


@dataclass(frozen=True)
class Values(Answer):
    """Numbers, as the model gives them; of two outputs, such as two encoders', the second beside the first.

    `width` is how many numbers a row has, where those are not as many as its target has.
    """

    undecided: bool = True
    width: int | None = None

    def decide(self, outputs: Sequence[Array], fitted: Fitted) -> Arrays:
        numbers = np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)
        first = numbers if len(outputs) > 1 else outputs[0]
        return {"numbers": first, **dict(zip(("value", "beside"), outputs, strict=False))}

    def misfit(self, shapes: Sequence[Shape], target: Shape, fitted: Fitted, own_loss: bool) -> str | None:
        given, count = shapes[0], shapes[0][0]
        wanted = [count, *target[1:]] if self.width is None else [count, self.width][: 1 + (self.width > 1)]
        if len(shapes) > 1:
            return None if len({*shapes}) == 1 else f"one shape for both, such as {[count, 64]},"
        width = int(np.prod(wanted[1:], dtype=int))
        if int(np.prod(given[1:], dtype=int)) == width or (len(given) > 2 and width == 1):
            return None
        return f"{wanted} or {[*wanted, 1]}" if len(wanted) == 1 else f"{wanted}"

    def distance(self, ours: "Tensor", theirs: "Tensor", temperature: float) -> "Tensor":
        from torch.nn.functional import mse_loss

        return mse_loss(ours, theirs.reshape(ours.shape))

    def moved(self, ours: Arrays, theirs: Arrays) -> Array:
        return moved(ours["numbers"], theirs["numbers"])

    def focus(self, answer: Arrays, row: Arrays) -> Array:
        """The value; of several, how little they differ from the row's own."""
        values, own = (part["numbers"].reshape(len(part["numbers"]), -1) for part in (answer, row))
        if values.shape[1] == 1:
            return values[:, 0].astype("float64")
        return np.asarray(-np.sqrt(((values.astype("float64") - own) ** 2).mean(axis=1)))

    def words(self, answer: Arrays, fitted: Fitted) -> list[str]:
        return [", ".join(f"{value:.4g}" for value in row.reshape(-1)[:4]) for row in answer["numbers"]]

    def pairs(self, target: Array, answer: Arrays, fitted: Fitted) -> Pairs:
        said = answer["value"]
        return Pairs(target.reshape(-1), said.reshape(-1)) if said.size == target.size else NOTHING

    def of_target(self, target: Array, fitted: Fitted) -> Array:
        shown = target if self.width is None else target.reshape(len(target), -1)[:, : self.width]
        return np.asarray(shown, "float32")

    def constant(self, target: Array, fitted: Fitted) -> Array:
        numbers = Values.of_target(self, target, fitted)
        return self.of_target(np.broadcast_to(numbers.mean(axis=0), numbers.shape), fitted)

    def wrong(self, target: Array, fitted: Fitted) -> Array:
        target = Values.of_target(self, target, fitted)
        turns = (-1.0) ** np.arange(len(target)).reshape(-1, *(1 for _ in target.shape[1:]))
        return np.asarray(target + 3 * (target.std() + 1) * turns, "float32")


NOTHING = Pairs(np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Quantiles(Values):
    """Quantiles of what is to come at each step, [n, steps, quantiles], served as they are; the middle one is the value."""

    levels: tuple[float, ...] = (0.5,)

    def decide(self, outputs: Sequence[Array], fitted: Fitted) -> Arrays:
        middle = int(np.abs(np.array(self.levels) - 0.5).argmin())
        return {"numbers": outputs[0], "quantiles": outputs[0], "value": outputs[0][..., middle]}

    def misfit(self, shapes: Sequence[Shape], target: Shape, fitted: Fitted, own_loss: bool) -> str | None:
        wanted = (shapes[0][0], *target[1:], len(self.levels))
        return None if shapes[0] == wanted else f"{[*wanted]}"

    def of_target(self, target: Array, fitted: Fitted) -> Array:
        return np.repeat(target[..., None], len(self.levels), axis=-1).astype("float32")

    def wrong(self, target: Array, fitted: Fitted) -> Array:
        return self.of_target(super().wrong(target, fitted), fitted)

    def constant(self, target: Array, fitted: Fitted) -> Array:
        spread = np.stack([np.quantile(target, level, axis=0) for level in self.levels], axis=-1)
        return np.broadcast_to(spread, (len(target), *spread.shape)).astype("float32")


def moved(ours: Array, theirs: Array) -> Array:
    """bool[n]: rows of which a number moved by more than a share of the spread that it has over the rows."""
    mine, other = (array.reshape(len(array), -1) for array in (ours, theirs))
    with np.errstate(invalid="ignore"):
        spread = np.nanstd(mine.astype("float64"), axis=0)
    largest = np.abs(mine).max(axis=0, initial=0.0)
    spread = np.where(np.isfinite(spread) & (spread > 0), spread, np.where(largest > 0, largest, 1.0))
    return np.asarray((distances(mine, other) > _MOVED * spread).any(axis=1))


def distances(expected: Array, got: Array) -> Array:
    """Absolute differences, float64; 0 where both are no number, and the largest there is where only one is."""
    with np.errstate(invalid="ignore"):
        distance = np.abs(got.astype("float64") - expected.astype("float64"))
    same = (np.isnan(got) & np.isnan(expected)) | (got == expected)
    return np.nan_to_num(np.where(same, 0.0, distance), nan=np.finfo("float64").max)
