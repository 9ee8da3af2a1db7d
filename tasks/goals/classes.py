"""Targets that are classes: one of a column's, any of the labels, one for each place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.goals.metric import Array, Arrays
from tasks.goals.target import GoalError, Target, distinct
from tasks.records import Fitted
from tasks.system.sentences import some

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labels(Target):
    """A class a row, of a column of any hashable cells: int64[n]."""

    def look(self, frame: "pd.DataFrame") -> tuple[list[Any], list[Any] | None]:
        """The different cells, and their order where they are an ordered category."""
        from tasks.goals.classic import classic

        column = frame[self.columns[0]]
        dtype = classic(column.iloc[:0]).dtype
        order = [*classic(column).dtype.categories] if getattr(dtype, "ordered", False) else None
        return distinct(column, f"the target {self.columns[0]!r}"), order

    def learn(self, looks: Sequence[tuple[list[Any], list[Any] | None]]) -> Fitted:
        """The classes in the order of their codes, which is the category's or else the values' own."""
        values = [*dict.fromkeys(value for cells, _ in looks for value in cells)]
        order: list[Any] | None = None
        for _, ordered in looks:
            order = self._common_order(order, ordered)
        if len(values) < 2:
            always = "" if not values else repr(values[0].item() if hasattr(values[0], "item") else values[0])
            raise GoalError(f"target {self.columns[0]!r} is always {always}; a classifier needs two classes.")
        return Fitted(classes=tuple(map(str, order if order is not None else in_order(values))))

    def _common_order(self, before: list[Any] | None, here: list[Any] | None) -> list[Any] | None:
        """An ordered category's order as all parts of the rows have it."""
        if before is None or here is None:
            return here or before
        longer, shorter = sorted((before, here), key=len, reverse=True)
        if [value for value in longer if value in shorter] != shorter:
            raise GoalError(
                f"the ordered target {self.columns[0]!r} has the order {before} in one part of the rows and {here} in "
                "another: give it one."
            )
        return longer

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        import pandas as pd

        from tasks.goals.classic import classic

        codes = codes_of(fitted)
        places, values = pd.factorize(classic(frame[self.columns[0]]), use_na_sentinel=False)
        encoded: Array = np.array([codes[str(value)] for value in values], "int64")[places]
        return encoded

    def describe(self, frame: "pd.DataFrame") -> str:
        column = frame[self.columns[0]]
        shares = column.value_counts(normalize=True)
        classes = self.learn([self.look(frame)]).classes or () if len(shares) > 1 else ()
        order = f"classes in order: {some(classes, 10)}; " if classes else ""
        return f"{order}the most frequent is {shares.index[0]} ({shares.iloc[0]:.0%})"

    def told_by(self, column: Array, target: Array) -> bool:
        """Whether each class has values of its own: a code for each, or a range."""
        values, places = np.unique(column, return_inverse=True)
        lowest, highest = np.full(len(values), target.max()), np.full(len(values), target.min())
        np.minimum.at(lowest, places, target)
        np.maximum.at(highest, places, target)
        if len(values) < 2 or (lowest != highest).any():
            return False
        ranges = 1 + int((np.diff(lowest) != 0).sum())
        return ranges == len(np.unique(target)) or len(values) <= 2 * len(np.unique(target))

    def strata(self, target: Array) -> Array:
        return target

    def counts(self, target: Array, fitted: Fitted) -> list[tuple[str, int]]:
        classes = fitted.classes or ()
        found = np.bincount(np.maximum(target, 0), target >= 0, minlength=len(classes)).astype(int)
        return list(zip(classes, found.tolist(), strict=True))

    def word(self, value: Any, fitted: Fitted) -> str:
        return (fitted.classes or ())[int(value)]


@dataclass(frozen=True)
class Flags(Target):
    """A column a label, each 0 or 1 (or false and true): float32[n, labels]."""

    def check(self, frame: "pd.DataFrame") -> None:
        for column in self.columns:
            if strange := [
                cell for cell in distinct(frame[column], f"the label {column!r}") if cell not in (0, 1)
            ]:
                raise GoalError(f"label {column!r} has the value {strange[0]}: give 1 where it applies, else 0.")  # fmt: skip

    def learn(self, looks: Sequence[Any]) -> Fitted:
        return Fitted(classes=self.columns)

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        return np.asarray(frame[[*self.columns]].astype("float32").to_numpy("float32"))

    def describe(self, frame: "pd.DataFrame") -> str:
        shares = frame[[*self.columns]].astype("float64").mean().sort_values()
        return (
            f"{len(shares)} labels, {shares.index[0]} in {shares.iloc[0]:.0%} of the rows to "
            f"{shares.index[-1]} in {shares.iloc[-1]:.0%}"
        )

    def counts(self, target: Array, fitted: Fitted) -> list[tuple[str, int]]:
        return list(zip(self.columns, target.sum(axis=0).astype(int).tolist(), strict=True))

    def word(self, value: Any, fitted: Fitted) -> str:
        return ", ".join(name for name, flag in zip(self.columns, value, strict=True) if flag) or "none"


@dataclass(frozen=True)
class Tags(Labels):
    """A class for each place, in cells that hold a list of words: int64[n, *shape], -100 behind the end of a row's own.

    `outside`, what is no class to speak of, is the first.
    """

    shape: tuple[int, ...] = ()
    outside: str | None = None

    def look(self, frame: "pd.DataFrame") -> tuple[list[Any], list[Any] | None]:
        words = {word for cell in frame[self.columns[0]] for word in self._cell(cell)}
        return [*words], None

    def _cell(self, cell: Any) -> list[Any]:
        if isinstance(cell, str) or not hasattr(cell, "__len__"):
            raise GoalError(
                f"target {self.columns[0]!r} has {cell!r} in a cell: give a list of tags, one for each place."
            )
        flat: list[Any] = np.asarray(cell, dtype=object).ravel().tolist()
        return flat

    def learn(self, looks: Sequence[tuple[list[Any], list[Any] | None]]) -> Fitted:
        classes = super().learn(looks).classes or ()
        if self.outside is None:
            return Fitted(classes=classes)
        return Fitted(classes=(self.outside, *(word for word in classes if word != self.outside)))

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        """What is beyond the shape is cut off."""
        codes, size = codes_of(fitted), int(np.prod(self.shape))
        coded = np.full((len(frame), size), -100, "int64")
        for row, cell in enumerate(frame[self.columns[0]]):
            words = self._cell(cell)[:size]
            coded[row, : len(words)] = [codes[str(word)] for word in words]
        return coded.reshape(len(frame), *self.shape)

    def describe(self, frame: "pd.DataFrame") -> str:
        words = [str(word) for cell in frame[self.columns[0]] for word in self._cell(cell)]
        names, counts = np.unique(words, return_counts=True)
        return f"{len(names)} tags, the most frequent is {names[counts.argmax()]} ({counts.max() / counts.sum():.0%})"

    def told_by(self, column: Array, target: Array) -> bool:
        return False

    def strata(self, target: Array) -> Array:
        return np.zeros(len(target), dtype=int)

    def counts(self, target: Array, fitted: Fitted) -> list[tuple[str, int]]:
        return super().counts(target.reshape(-1), fitted)

    def word(self, value: Any, fitted: Fitted) -> str:
        codes = np.asarray(value).reshape(-1)
        return " ".join((fitted.classes or ())[code] for code in codes[codes >= 0][:12].tolist())


def in_order(values: list[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError as error:
        types = sorted({type(value).__name__ for value in values})
        raise GoalError(
            f"the target's values are of the types {', '.join(types)}, which have no common order: make them one in load()."
        ) from error


def codes_of(fitted: Fitted) -> dict[str, int]:
    return {name: code for code, name in enumerate(fitted.classes or ())}
