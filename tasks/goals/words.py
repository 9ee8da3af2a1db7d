"""Answers in words: one of the classes, any of the labels, one for each place; decided by numpy here, by nodes in the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tasks.goals.answer import NOTHING, Answer, Pairs, Shape, Values
from tasks.goals.metric import Array, Arrays
from tasks.records import Fitted

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.goals.heads import Axes, Head

_FEWEST = 30
"""Validation rows of a class, from which a threshold is fitted."""


@dataclass(frozen=True)
class Worded(Answer):
    """An answer in words, `label`, beside the probabilities that it was made of.

    `thresholds`: what is said has to be as likely as a threshold that is fitted on validation rows; else "" is said.
    """

    thresholds: bool = False

    def served(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        if self.undecided:
            return outputs
        before = "" if outputs[0] == "logits" else f"{outputs[0]}_"
        names = (f"{before}label", f"{before}probability")
        return (*names, *outputs) if self.raw else names

    def comparable(self, theirs: Fitted, ours: Fitted) -> bool:
        known, wanted = theirs.classes or (), ours.classes or ()
        return known == wanted or (not self.undecided and bool({*known} & {*wanted}))

    def aligned(self, served: Sequence[Array], theirs: Fitted, ours: Fitted) -> list[Array]:
        """Labels say themselves what they are; a class that the file does not know has probability 0."""
        known, wanted = theirs.classes or (), ours.classes or ()
        if known == wanted:
            return [*served]
        label, shares = served[:2]
        padded = np.concatenate([shares, np.zeros_like(shares[..., :1])], axis=-1)
        places = [known.index(word) if word in known else -1 for word in wanted]
        return [self._relabelled(label, known, wanted), padded[..., places], *served[2:]]

    def _relabelled(self, label: Array, known: Sequence[str], wanted: Sequence[str]) -> Array:
        return label


@dataclass(frozen=True)
class One(Worded):
    """One of the classes, by the largest logit; of one logit for two classes, by its sign."""

    alone: ClassVar[bool] = True

    def decide(self, outputs: Sequence[Array], fitted: Fitted) -> Arrays:
        columns = outputs[0].reshape(len(outputs[0]), -1)
        code: Array = columns.argmax(axis=1) if columns.shape[1] > 1 else (columns[:, 0] > 0).astype("int64")
        shares = softmax(outputs[0])
        if fitted.thresholds:
            limits = np.array([*fitted.thresholds, *([0.0] * (shares.shape[1] - len(fitted.thresholds)))])
            code = np.where(shares.max(axis=1) >= limits[code], code, -1)
        return {"code": code, "probability": shares, "numbers": outputs[0] if self.undecided else shares}

    def head(self, outputs: Mapping[str, "Axes"], fitted: Fitted) -> "Head | None":
        from tasks.goals.heads import one

        ((output, axes),) = outputs.items()
        width = axes[-1] if len(axes) > 1 and axes[-1] != 1 else 2
        words = [word_of(code, fitted) for code in range(int(width))]
        limits = fitted.thresholds and [*fitted.thresholds, *([0.0] * (len(words) - len(fitted.thresholds)))]
        return None if self.undecided else one(output, axes, self.served((output,))[:2], words, limits)

    def fit(self, outputs: Sequence[Array], target: Array, fitted: Fitted) -> tuple[Fitted, tuple[str, ...]]:
        """For each class the threshold at which its F1 is best, of the rows of which it is the most likely class."""
        if not self.thresholds:
            return fitted, ()
        answer = self.decide(outputs, Fitted())
        shares, codes = answer["probability"].max(axis=1), range(len(fitted.classes or ()))
        chosen = [np.where(answer["code"] == code, shares, -1.0) for code in codes]
        return with_thresholds(fitted, chosen, [target == code for code in codes], 0.0)

    def read(self, served: Sequence[Array], fitted: Fitted) -> Arrays:
        if self.undecided:
            return self.decide(served, fitted)
        label, shares = served[:2]
        return {"code": codes_of_words(label, fitted), "probability": shares, "numbers": shares}

    def misfit(self, shapes: Sequence[Shape], target: Shape, fitted: Fitted, own_loss: bool) -> str | None:
        given, count = shapes[0], len(fitted.classes or ())
        width = given[1] if len(given) == 2 else 1
        own_loss = own_loss and self.undecided
        if (len(given) <= 2 or own_loss) and (width >= count or (count == 2 and width == 1)):
            return None
        return f"{[given[0], count]}"

    def doubt(self, shapes: Sequence[Shape], fitted: Fitted) -> str | None:
        width, classes = int(np.prod(shapes[0][1:], dtype=int)), fitted.classes or ()
        if width <= len(classes):
            return None
        return f"it gives {width} outputs for {len(classes)} classes ({', '.join(classes[:5])}): what is beyond them is never learned"

    def distance(self, ours: "Tensor", theirs: "Tensor", temperature: float) -> "Tensor":
        """KL divergence of the softened probabilities, times temperature² (Hinton et al. 2015, arXiv:1503.02531)."""
        from torch.nn import functional

        if ours.ndim == 1 or ours.shape[-1] == 1:
            return Values().distance(ours, theirs, temperature)
        mine, other = (
            functional.log_softmax(logits.flatten(0, -2) / temperature, dim=1) for logits in (ours, theirs)
        )
        return functional.kl_div(mine, other, reduction="batchmean", log_target=True) * temperature**2

    def changed(self, ours: Arrays, theirs: Arrays) -> Array:
        other = ours["code"] != theirs["code"]
        return np.asarray(other.any(axis=tuple(range(1, other.ndim))))

    def focus(self, answer: Arrays, row: Arrays) -> Array:
        """By how much the row's own class wins from the best other."""
        columns = answer["numbers"].reshape(len(answer["numbers"]), -1).astype("float64")
        if columns.shape[1] == 1:  # the second class's logit; the first has the others' side of zero
            columns = np.hstack([np.zeros_like(columns), columns])
        likely = row["probability"].reshape(1, -1)
        code, others = int(likely.argmax()), columns.copy()
        others[:, code] = -np.inf
        return np.asarray(columns[:, code] - others.max(axis=1))

    def words(self, answer: Arrays, fitted: Fitted) -> list[str]:
        """Of places, the first twelve."""
        return [
            " ".join(word_of(code, fitted) for code in row.reshape(-1)[:12].tolist())
            for row in answer["code"]
        ]

    def watched(self, answer: Arrays) -> Array:
        return answer["code"]

    def pairs(self, target: Array, answer: Arrays, fitted: Fitted) -> Pairs:
        both = (target >= 0) & (answer["code"] >= 0)
        return Pairs(target[both], answer["code"][both], fitted.classes or ())

    def of_target(self, target: Array, fitted: Fitted) -> Array:
        return 20 * np.eye(len(fitted.classes or ()), dtype="float32")[np.maximum(target, 0)]


@dataclass(frozen=True)
class Each(One):
    """A class for each place of a row: the words of a text, the pixels of a picture; logits [n, …, classes].

    `outside`: the first class is what is none of them, which scores nothing.
    """

    outside: bool = False
    alone: ClassVar[bool] = False

    def decide(self, outputs: Sequence[Array], fitted: Fitted) -> Arrays:
        logits = outputs[0].astype("float64")
        grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares = grown / grown.sum(axis=-1, keepdims=True)
        code = outputs[0].argmax(axis=-1)
        return self._decided(code, shares, outputs[0] if self.undecided else shares)

    def _decided(self, code: Array, shares: Array, numbers: Array) -> Arrays:
        outside = np.full(len(code), 0 if self.outside else -1)
        return {"code": code, "probability": shares, "numbers": numbers, "outside": outside}

    def read(self, served: Sequence[Array], fitted: Fitted) -> Arrays:
        if self.undecided:
            return self.decide(served, fitted)
        label, shares = served[:2]
        return self._decided(codes_of_words(label, fitted), shares, shares)

    def misfit(self, shapes: Sequence[Shape], target: Shape, fitted: Fitted, own_loss: bool) -> str | None:
        wanted = (shapes[0][0], *target[1:], len(fitted.classes or ()))
        return None if shapes[0] == wanted else f"{[*wanted]}"

    def doubt(self, shapes: Sequence[Shape], fitted: Fitted) -> str | None:
        return None

    def within(self, answer: Arrays, target: Array) -> Arrays:
        """Of rows, and of places in each, there may be fewer than in the target."""
        there = target[tuple(slice(size) for size in answer["code"].shape)] >= 0
        return {**answer, "code": np.where(there, answer["code"], -1)}

    def focus(self, answer: Arrays, row: Arrays) -> Array:
        """The mean log-probability of the row's own tags."""
        code = np.broadcast_to(row["code"], answer["code"].shape)[..., None]
        own = np.take_along_axis(answer["probability"], code, axis=-1)
        return np.asarray(np.log(np.maximum(own, 1e-12)).reshape(len(own), -1).mean(axis=1))

    def watched(self, answer: Arrays) -> Array:
        """At how many places each row has another class than the first, which most places have."""
        return np.asarray((answer["code"] != 0).reshape(len(answer["code"]), -1).sum(axis=1))


@dataclass(frozen=True)
class Many(Worded):
    """Any of the labels: each whose probability, of a logit of its own, is at least its threshold (0.5 until one is fitted)."""

    def decide(self, outputs: Sequence[Array], fitted: Fitted) -> Arrays:
        logits = outputs[0].astype("float64")
        shares = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
        limits = np.array(fitted.thresholds or 0.5)
        return {
            "chosen": shares >= limits,
            "probability": shares,
            "numbers": outputs[0] if self.undecided else shares,
        }

    def head(self, outputs: Mapping[str, "Axes"], fitted: Fitted) -> "Head | None":
        from tasks.goals.heads import many

        ((output, axes),) = outputs.items()
        words = fitted.classes or ()
        limits = fitted.thresholds or (0.5,) * len(words)
        return None if self.undecided else many(output, axes, self.served((output,))[:2], words, limits)

    def fit(self, outputs: Sequence[Array], target: Array, fitted: Fitted) -> tuple[Fitted, tuple[str, ...]]:
        """For each label the threshold at which its F1 is best."""
        if not self.thresholds:
            return fitted, ()
        shares = self.decide(outputs, Fitted())["probability"]
        return with_thresholds(fitted, [*shares.T], [*(target > 0).T], 0.5)

    def read(self, served: Sequence[Array], fitted: Fitted) -> Arrays:
        if self.undecided:
            return self.decide(served, fitted)
        label, shares = served[:2]
        return {"chosen": label != "", "probability": shares, "numbers": shares}

    def _relabelled(self, label: Array, known: Sequence[str], wanted: Sequence[str]) -> Array:
        """Each label has a place of its own."""
        padded = np.concatenate([label, np.full_like(label[:, :1], "")], axis=1)
        return padded[:, [known.index(word) if word in known else -1 for word in wanted]]

    def misfit(self, shapes: Sequence[Shape], target: Shape, fitted: Fitted, own_loss: bool) -> str | None:
        wanted = (shapes[0][0], *target[1:])
        return None if shapes[0] == wanted else f"{[*wanted]}"

    def distance(self, ours: "Tensor", theirs: "Tensor", temperature: float) -> "Tensor":
        from torch.nn.functional import binary_cross_entropy_with_logits

        soft = (theirs / temperature).sigmoid()
        return binary_cross_entropy_with_logits(ours / temperature, soft) * temperature**2

    def changed(self, ours: Arrays, theirs: Arrays) -> Array:
        return np.asarray((ours["chosen"] != theirs["chosen"]).any(axis=1))

    def focus(self, answer: Arrays, row: Arrays) -> Array:
        """The mean log-probability of saying of each label what is said of the row."""
        shares = np.where(row["chosen"], answer["probability"], 1 - answer["probability"])
        return np.asarray(np.log(np.maximum(shares, 1e-12)).mean(axis=1))

    def words(self, answer: Arrays, fitted: Fitted) -> list[str]:
        named = [[word_of(code, fitted) for code in np.flatnonzero(row).tolist()] for row in answer["chosen"]]
        return [", ".join(words) or "none" for words in named]

    def watched(self, answer: Arrays) -> Array:
        """How many labels each row has."""
        return np.asarray(answer["chosen"].sum(axis=1))

    def pairs(self, target: Array, answer: Arrays, fitted: Fitted) -> Pairs:
        return NOTHING

    def of_target(self, target: Array, fitted: Fitted) -> Array:
        return (20 * (target - 0.5)).astype("float32")

    def wrong(self, target: Array, fitted: Fitted) -> Array:
        return -self.of_target(target, fitted)

    def constant(self, target: Array, fitted: Fitted) -> Array:
        frequent = (target.mean(axis=0) >= 0.5).astype("float32")
        return self.of_target(np.broadcast_to(frequent, target.shape), fitted)


def softmax(outputs: Array) -> Array:
    """Softmax of logits [n, classes], in float64, safe for large ones; one column becomes two by the sigmoid."""
    logits = outputs.reshape(len(outputs), -1).astype("float64")
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = grown / grown.sum(axis=1, keepdims=True)
    return shares


def with_thresholds(
    fitted: Fitted, shares: Sequence[Array], there: Sequence[Array], default: float
) -> tuple[Fitted, tuple[str, ...]]:
    """For each class, of its probability [n] (below 0: not to be said) and whether it is there, the threshold of the best F1.

    A class of few rows keeps the default, and is named: on a handful a threshold is luck.
    """
    limits, notes = [], []
    for word, likely, true in zip(fitted.classes or (), shares, there, strict=True):
        if (rows := int(true.sum())) < _FEWEST:
            notes.append(
                f"{word!r} has {rows} validation rows: fewer than {_FEWEST} fit no threshold, it stays at {default:g}"
            )
            limits.append(default)
        else:
            limits.append(_best_threshold(likely, true))
    return fitted.model_copy(update={"thresholds": tuple(limits)}), tuple(notes)


def _best_threshold(likely: Array, true: Array) -> float:
    """Halfway between the last probability that is taken and the first that is not."""
    order = np.argsort(-likely, kind="stable")
    order = order[likely[order] >= 0]
    if not len(order):
        return 0.0
    scored = 2 * true[order].cumsum() / (np.arange(1, len(order) + 1) + true.sum())
    falls = np.append(np.diff(likely[order]) < 0, True)  # equal probabilities are taken together
    last = int(np.where(falls, scored, -1.0).argmax())
    beyond = float(likely[order[last + 1]]) if last + 1 < len(order) else 0.0
    return float(np.float32((float(likely[order[last]]) + beyond) / 2))


def codes_of_words(label: Array, fitted: Fitted) -> Array:
    """The codes of words, int64 in their shape; -1 for what is no class."""
    codes = {word: code for code, word in enumerate(fitted.classes or ())}
    words, places = np.unique(label.astype(str), return_inverse=True)
    found = np.array([codes.get(str(word), -1) for word in words], "int64")
    return found[places].reshape(label.shape)


def word_of(code: Any, fitted: Fitted) -> str:
    """A class by its code; one that the model has beyond those that are learned has a number, and -1 says nothing."""
    classes = fitted.classes or ()
    if code < 0:
        return ""
    return classes[code] if code < len(classes) else f"class {code}"
