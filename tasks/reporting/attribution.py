"""What each part of a row weighs in its answer: others' values stand in its place, by the served bytes, from two seeds."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch

from tasks.data.arrays import Array, Arrays, to_inputs
from tasks.data.dataset import read_frame, read_split
from tasks.onnx.session import open_session, run_named
from tasks.records import Dataset
from tasks.reporting.features import Parts, columns_behind, cut
from tasks.workloads.scoring import decisions
from tasks.workloads.workload import Workload

Focus = Callable[[Arrays], Array]

DRAWS = 32
"""Training rows whose values stand in a part's place, by seed."""

_AT_ONCE, _SEEDS, _LOOKED_AT, _GROUPS = 512, (0, 1), 200, 8


class TooLongError(Exception):
    """The parts of one row alone would take `seconds` of CPU."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a row takes about {seconds:.0f} s of CPU")
        self.seconds = seconds


def captum_installed() -> bool:
    """Whether captum is installed; the model server never has it."""
    return importlib.util.find_spec("captum") is not None


@dataclass(frozen=True)
class AttributedRow:
    """One row with its inputs [1, ...] and its parts; `by_seed`: what each part weighs, float64[parts], found twice."""

    number: int
    answer: str
    row: Arrays
    parts: Parts
    by_seed: tuple[Array, Array]

    @property
    def weights(self) -> Array:
        """float64[parts], the mean of both."""
        return (self.by_seed[0] + self.by_seed[1]) / 2

    @property
    def agreement(self) -> float:
        return agreement(*self.by_seed)


def attribute(
    workload: Workload,
    dataset: Dataset,
    file: Path | bytes,
    frame: pd.DataFrame,
    numbers: list[int],
    longest: float | None = None,
) -> Iterator[AttributedRow]:
    """The rows of `frame` one after the other, as far as the caller has time for. Raises TooLongError before one that would take
    more than `longest` seconds of CPU."""
    session, inputs = open_session(file), to_inputs(workload, frame)
    training = read_split(dataset, "train").inputs
    named = columns_behind(workload, _some_rows(dataset), inputs)
    for place, number in enumerate(numbers):
        row = {name: array[place : place + 1] for name, array in inputs.items()}
        parts = cut(row, named)
        focus, answer = _asked(workload, session, row, dataset)
        if longest is not None and (seconds := _foreseen(focus, row, parts)) > longest:
            raise TooLongError(seconds)
        first, second = (_weights(focus, row, training, parts, seed) for seed in _SEEDS)
        yield AttributedRow(number, answer, row, parts, (first, second))


def _foreseen(focus: Focus, row: Arrays, parts: Parts) -> float:
    """Seconds of CPU that a row will take, by those of one part of it."""
    drawn = {name: array.repeat(DRAWS, 0) for name, array in row.items()}
    started = time.process_time()
    focus(drawn)
    return (time.process_time() - started) * len(parts.names) * len(_SEEDS)


def _some_rows(dataset: Dataset) -> pd.DataFrame:
    """Training rows far apart (in time, the first may be of one day), from few row groups: all may not fit in memory."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(dataset.folder / "train" / "frame.parquet") as file:
        groups = np.linspace(0, file.num_row_groups - 1, _GROUPS).round().astype(int)
        frame: pd.DataFrame = file.read_row_groups(sorted(set(groups.tolist()))).to_pandas()
    return frame.iloc[:: max(1, len(frame) // _LOOKED_AT)]


def attribute_test_rows(
    workload: Workload, dataset: Dataset, file: Path, most: int, seconds: float, longest: float | None = None
) -> list[AttributedRow]:
    """Up to `most` test rows, of each class in turn: the first, and then as many as are begun in `seconds` of CPU.

    Raises TooLongError when already the first would take more than `longest`.
    """
    attributed = list[AttributedRow]()
    test = read_frame(dataset, "test")
    target = read_split(dataset, "test").target
    numbers = of_each_class(workload.goals[0].target.strata(target), most)
    chosen = test.iloc[numbers].reset_index(drop=True)
    try:
        for row in attribute(workload, dataset, file, chosen, numbers, longest):
            if not attributed:
                started = time.process_time()  # importing captum, and looking for columns, is paid once
            attributed.append(row)
            if time.process_time() - started >= seconds:
                break
    except TooLongError:
        if not attributed:
            raise
    return attributed


def of_each_class(strata: Array, most: int) -> list[int]:
    """Row numbers: the first of each stratum, then the second of each, …"""
    turn = pd.Series(strata).groupby(np.asarray(strata)).cumcount()
    return [int(place) for place in np.lexsort((strata, turn))[:most]]


def _asked(
    workload: Workload, session: onnxruntime.InferenceSession, row: Arrays, dataset: Dataset
) -> tuple[Focus, str]:
    """The number that is explained, as a function of rows by the served file, and the row's answer in words."""
    answer, fitted = workload.goals[0].answer, dataset.fitted

    def decided(feed: Arrays) -> Arrays:
        return decisions(workload, run_named(session, feed, workload.served, _AT_ONCE), fitted)[0]

    own = decided(row)
    return lambda feed: answer.focus(decided(feed), own), answer.words(own, fitted[0])[0]


def _weights(focus: Focus, row: Arrays, training: Arrays, parts: Parts, seed: int) -> Array:
    """How much the answer falls without each part, float64[parts], mean over draws of a training row in its place."""
    from captum.attr import FeatureAblation

    count = len(next(iter(training.values())))
    drawn = np.random.default_rng(seed).integers(0, count, DRAWS)
    names = list(row)
    given = tuple(torch.from_numpy(_number(row[name]).repeat(DRAWS, 0)) for name in names)
    others = {name: _fitted(np.array(training[name][drawn]), row[name]) for name in names}
    ablated = FeatureAblation(_forward(focus, row)).attribute(
        given,
        baselines=tuple(torch.from_numpy(_number(others[name])) for name in names),
        feature_mask=tuple(torch.from_numpy(parts.masks[name]) for name in names),
        perturbations_per_eval=max(1, _AT_ONCE // DRAWS),
    )
    means = np.zeros(len(parts.names))
    for name, weights in zip(names, ablated, strict=True):
        numbers, first = np.unique(parts.masks[name], return_index=True)
        means[numbers] = weights.double().mean(0).numpy().reshape(-1)[first]
    return means


def _forward(focus: Focus, row: Arrays) -> Callable[..., torch.Tensor]:
    """The number that is explained as a function of tensors, [n]."""

    def forward(*tensors: torch.Tensor) -> torch.Tensor:
        feed = {n: t.numpy().astype(a.dtype) for (n, a), t in zip(row.items(), tensors, strict=True)}
        return torch.from_numpy(np.ascontiguousarray(focus(feed)))

    return forward


def _number(array: Array) -> Array:
    """captum multiplies by its masks: truth values and small integers as int64."""
    return array.astype("int64") if array.dtype.kind in "biu" else array.copy()


def _fitted(others: Array, like: Array) -> Array:
    """Training rows cut or repeated to a row's lengths."""
    for axis, size in enumerate(like.shape[1:], 1):
        others = others.take(range(size), axis, mode="wrap")
    return others


def agreement(first: Array, second: Array) -> float:
    """Correlation of two seeds' weights; 1 for a row whose parts all weigh nothing, or that has one part."""
    if np.array_equal(first, second) or len(first) < 2:
        return 1.0
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
