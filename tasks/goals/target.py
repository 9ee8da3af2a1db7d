"""What is to be learned of a frame's rows: which columns, what is learned of them all, and the tensor that they become."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.goals.metric import Array, Arrays
from tasks.records import Fitted
from tasks.system.sentences import shortened, some

if TYPE_CHECKING:
    import pandas as pd

_LINEAR = 1 - 1e-6
"""The share of a target's variance that a number explains which is the target, in other units."""


class GoalError(Exception):
    """Rows that a goal cannot learn, in words that follow whose goal it is."""


@dataclass(frozen=True)
class Target:
    """What the steps of a pipeline ask of a target. One of one's own needs `columns` and `encode`."""

    columns: tuple[str, ...]

    @property
    def said(self) -> str:
        """The columns, as a sentence has them."""
        return some([repr(column) for column in self.columns], 4)

    @property
    def unit(self) -> str | None:
        """The column whose equal cells are compared with each other, where rows are."""
        return None

    def check(self, frame: "pd.DataFrame") -> None:
        """Raise GoalError for columns of a type that cannot be learned."""

    def look(self, frame: "pd.DataFrame") -> Any:
        """What `learn` needs of these rows, of which a source that streams has many parts."""
        return None

    def learn(self, looks: Sequence[Any]) -> Fitted:
        """What all rows come to, from a look at each part. Raises GoalError when nothing can be learned of them."""
        return Fitted()

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        """The target's tensor for these rows, [n, …], row by row."""
        raise NotImplementedError

    def describe(self, frame: "pd.DataFrame") -> str:
        """The target in a few words, to follow a colon."""
        return self.said

    def told_by(self, column: Array, target: Array) -> bool:
        """Whether one number of a row, float64[n], tells its target by itself."""
        return False

    def strata(self, target: Array) -> Array:
        """A number for each row, [n], by which rows are alike: of each some are explained."""
        return np.zeros(len(target), dtype=int)

    def counts(self, target: Array, fitted: Fitted) -> list[tuple[str, int]]:
        """How many rows are of each class; of numbers, nothing."""
        return []

    def word(self, value: Any, fitted: Fitted) -> str:
        """A row's target as people read it."""
        return ", ".join(f"{number:.4g}" for number in np.asarray(value, "float64").reshape(-1)[:4])


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
        from tasks.goals.classic import classic

        codes = codes_of(fitted)
        return np.array([codes[str(value)] for value in classic(frame[self.columns[0]])], "int64")

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
class Numbers(Target):
    """Numbers, float32: [n] of one column, [n, k] of several."""

    def check(self, frame: "pd.DataFrame") -> None:
        import pandas as pd

        for column in self.columns:
            dtype = frame[column].dtype
            if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
                raise GoalError(f"target {column!r} is {dtype}; a regression needs numbers.")

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        with np.errstate(over="ignore"):
            columns = [frame[column].to_numpy("float32") for column in self.columns]
        for column, numbers in zip(self.columns, columns, strict=True):
            finite(column, numbers)
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)

    def describe(self, frame: "pd.DataFrame") -> str:
        return ", ".join(
            f"{column!r} is {frame[column].min():g} to {frame[column].max():g}" for column in self.columns
        )

    def told_by(self, column: Array, target: Array) -> bool:
        """Whether a target is the number, in whatever units."""
        columns = target.reshape(len(target), -1).T
        return column.std() > 0 and any(
            bool(np.corrcoef(column, own)[0, 1] ** 2 > _LINEAR) for own in columns if own.std() > 0
        )


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
class Steps(Target):
    """A series a row, in cells that hold `length` numbers each: float32[n, length]."""

    length: int
    past: str | None = None
    season: int = 1

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        (column,) = self.columns
        self._check_past(inputs)
        cells = [np.asarray(cell) for cell in frame[column]]
        if wrong := next((cell for cell in cells if cell.shape != (self.length,)), None):
            raise GoalError(
                f"target {column!r} has a cell of shape {list(wrong.shape)}, and {self.length} steps are to be learned: give as many."
            )
        series = np.stack(cells).astype("float32") if cells else np.empty((0, self.length), "float32")
        finite(column, series)
        return series

    def _check_past(self, inputs: Arrays) -> None:
        """The series before, of which `past` is the input, has to reach back over a season."""
        if self.past is None:
            return
        if (before := inputs.get(self.past)) is None:
            raise GoalError(f"its forecast goes on from input {self.past!r}, and inputs() gives {', '.join(inputs)}.")
        if before.ndim != 2 or before.shape[1] <= self.season:
            raise GoalError(
                f"its forecast goes on from input {self.past!r} of shape {list(before.shape)}, and season={self.season} needs [rows, steps] with more steps."
            )

    def describe(self, frame: "pd.DataFrame") -> str:
        return f"{self.length} steps of {self.said}"


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


@dataclass(frozen=True)
class Gains(Target):
    """How much each row is worth to its query, from two columns: float64[n, 2], the gain and a number of the query."""

    @property
    def unit(self) -> str:
        return self.columns[1]

    def check(self, frame: "pd.DataFrame") -> None:
        Numbers(self.columns[:1]).check(frame)

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        gains, queries = frame[self.columns[0]].to_numpy("float64"), frame[self.columns[1]]
        if (gains < 0).any():
            raise GoalError(f"gain {self.columns[0]!r} is below 0 in {int((gains < 0).sum())} rows: give 0 for what is worth nothing.")  # fmt: skip
        numbers = {query: _number_of(query) for query in distinct(queries, f"the query {self.columns[1]!r}")}
        return np.stack([gains, [numbers[query] for query in queries]], axis=1)

    def describe(self, frame: "pd.DataFrame") -> str:
        return f"{self.columns[0]!r} for {frame[self.columns[1]].nunique():,} queries of {self.columns[1]!r}"

    def word(self, value: Any, fitted: Fitted) -> str:
        return f"{float(value[0]):.4g}"


def _number_of(query: Any) -> float:
    """The same in every part of the rows, and exact as float64."""
    return float(int.from_bytes(hashlib.blake2b(str(query).encode(), digest_size=6).digest(), "little"))


@dataclass(frozen=True)
class InputItself(Target):
    """An input as it goes in: float32[n, …]."""

    source: str = ""

    @property
    def said(self) -> str:
        return f"input {self.source!r}"

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        if self.source not in inputs:
            raise GoalError(
                f"its goal makes input {self.source!r} again, and inputs() gives {', '.join(inputs)}."
            )
        return inputs[self.source].astype("float32")


@dataclass(frozen=True)
class NoTarget(Target):
    """Nothing beside the inputs: int64[n] of zeros."""

    @property
    def said(self) -> str:
        return "two encoders' outputs"

    def encode(self, frame: "pd.DataFrame", fitted: Fitted, inputs: Arrays) -> Array:
        return np.zeros(len(frame), "int64")


def distinct(column: "pd.Series[Any]", what: str) -> list[Any]:
    """The different cells of a column. Raises GoalError, naming one, for cells that hold several values each."""
    from tasks.goals.classic import classic

    try:
        return [*classic(column).dropna().unique()]
    except TypeError as error:
        cell = next(cell for cell in classic(column).dropna() if not isinstance(cell, Hashable))
        raise GoalError(
            f"{what} has a {type(cell).__name__} in each cell, such as {shortened(str(cell), 60)}: give it one number or text a row, "
            "and what else is to be learned in columns of its own."
        ) from error


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


def finite(column: str, numbers: Array) -> None:
    if bad := int((~np.isfinite(numbers.reshape(len(numbers), -1))).any(axis=1).sum()):
        raise GoalError(
            f"target {column!r} is infinite as float32 in {bad} rows: drop or scale them in load()."
        )
