"""What is to be learned of a frame's rows: which columns, what is learned of them all, and the tensor that they become.

Numbers here; classes in classes.py.
"""

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
            raise GoalError(
                f"its forecast goes on from input {self.past!r}, and inputs() gives {', '.join(inputs)}."
            )
        if before.ndim != 2 or before.shape[1] <= self.season:
            raise GoalError(
                f"its forecast goes on from input {self.past!r} of shape {list(before.shape)}, and season={self.season} needs [rows, steps] with more steps."
            )

    def describe(self, frame: "pd.DataFrame") -> str:
        return f"{self.length} steps of {self.said}"


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


def finite(column: str, numbers: Array) -> None:
    if bad := int((~np.isfinite(numbers.reshape(len(numbers), -1))).any(axis=1).sum()):
        raise GoalError(
            f"target {column!r} is infinite as float32 in {bad} rows: drop or scale them in load()."
        )
