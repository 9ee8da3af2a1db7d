"""Which pixels, words, genes or columns an answer hangs on: each replaced by what other rows have there, in the served bytes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data import prepare, read_frame, read_split, to_inputs
from tasks.errors import UserError
from tasks.evidence import MODEL, Evidence
from tasks.parts import Parts, columns_behind, cut
from tasks.records import Dataset, Record
from tasks.score import predictions
from tasks.session import open_session
from tasks.workloads import Workload, load_workload

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    import pandas as pd
    import torch

    Array = np.ndarray[Any, Any]
    Arrays = dict[str, Array]

_DRAWS, _AT_ONCE, _SEEDS, _LOOKED_AT = 64, 64, (0, 1), 200
STABLE = 0.8
"""Least mean correlation between two seeds at which attributions count as stable."""


class Feature(Record):
    """One part of a row, and how much the answer falls (or rises, below zero) when others' values stand in its place."""

    name: str
    weight: float


class Explained(Record):
    """One row: what the model says of it, and its parts in the order of the inputs."""

    row: int
    answer: str
    features: tuple[Feature, ...]


class Explanation(Record):
    """What a version's answers on some rows hang on. `agreement`: mean correlation between two seeds."""

    model: str
    version: int | None
    rows: tuple[Explained, ...]
    agreement: float
    method: str = f"captum FeatureAblation, {_DRAWS} draws from training rows, mean of two seeds"

    @property
    def stable(self) -> bool:
        return self.agreement >= STABLE

    def overall(self) -> list[Feature]:
        """Each part's mean absolute weight over the rows, largest first."""
        sums: dict[str, float] = {}
        for row in self.rows:
            for one in row.features:
                sums[one.name] = sums.get(one.name, 0.0) + abs(one.weight) / len(self.rows)
        return [Feature(name=n, weight=w) for n, w in sorted(sums.items(), key=lambda item: -item[1])]


def available() -> bool:
    """Whether captum is installed; the model server never has it."""
    return importlib.util.find_spec("captum") is not None


def explain_version(evidence: Evidence, version: int, folder: Path, rows: str, home: Path) -> Explanation:
    """Explain a version's own bytes in `folder` on `rows`: a count, numbers of test rows (3,17), or a CSV or Parquet file.

    Raises UserError for rows that are not there, and when captum is not installed.
    """
    if not available():
        raise UserError("slipway explain needs captum: pip install 'slipway[explain]'.")
    from tasks.config import Data

    dataset = prepare(evidence.workload, Data.model_validate(evidence.config["data"]), home / "datasets")
    frame, numbers = _asked(rows, read_frame(dataset, "test"))
    workload = load_workload(evidence.workload)
    found = explain(workload, dataset, folder / MODEL, frame, numbers)
    return found.model_copy(update={"version": version})


def explain(
    workload: Workload, dataset: Dataset, model: Path, frame: "pd.DataFrame", numbers: list[int]
) -> Explanation:
    """Explain the ONNX file's answers on the rows of `frame`, which are called `numbers`."""
    import numpy as np

    session, inputs = open_session(model), to_inputs(workload, frame)
    training = read_split(dataset, "train").inputs
    named = columns_behind(workload, read_frame(dataset, "train").head(_LOOKED_AT), inputs)
    rows, agreements = [], []
    for place, number in enumerate(numbers):
        row = {name: array[place : place + 1] for name, array in inputs.items()}
        parts = cut(row, named)
        code, answer = _answer(workload, session, row, dataset.classes)
        by_seed = [_weights(session, row, training, parts, code, seed) for seed in _SEEDS]
        agreements.append(_agreement(*by_seed))
        weights = np.mean(by_seed, axis=0)
        features = tuple(Feature(name=n, weight=float(w)) for n, w in zip(parts.names, weights, strict=True))
        rows.append(Explained(row=number, answer=answer, features=features))
    agreement = float(np.mean(agreements)) if agreements else 1.0
    return Explanation(model=workload.name, version=None, rows=tuple(rows), agreement=agreement)


def _asked(rows: str, test: "pd.DataFrame") -> "tuple[pd.DataFrame, list[int]]":
    import pandas as pd

    if rows.endswith((".csv", ".parquet")):
        if not Path(rows).is_file():
            raise UserError(f"There is no file {rows} with rows to explain.")
        frame = pd.read_csv(rows) if rows.endswith(".csv") else pd.read_parquet(rows)
        return frame, list(range(len(frame)))
    try:
        numbers = list(range(int(rows))) if "," not in rows else [int(n) for n in rows.split(",") if n]
    except ValueError:
        raise UserError(
            f"{rows!r} names no rows: give a count (5), numbers of test rows (3,17), or a .csv or .parquet file."
        ) from None
    if not numbers or min(numbers) < 0 or max(numbers) >= len(test):
        raise UserError(f"{rows!r} does not fit: there are {len(test)} test rows, from 0 to {len(test) - 1}.")
    return test.iloc[numbers].reset_index(drop=True), numbers


def _answer(
    workload: Workload,
    session: "onnxruntime.InferenceSession",
    row: "Arrays",
    classes: tuple[str, ...] | None,
) -> tuple[int | None, str]:
    """The output whose weight is asked for (None: there is one), and the answer in words."""
    outputs = session.run(None, row)[0]
    if classes is None:
        return None, f"{float(outputs.reshape(-1)[0]):.4g}"
    code = int(predictions(workload, outputs)[0])
    return (code if outputs.reshape(1, -1).shape[1] > 1 else None), classes[code]


def _weights(
    session: "onnxruntime.InferenceSession",
    row: "Arrays",
    training: "Arrays",
    parts: Parts,
    code: int | None,
    seed: int,
) -> "Array":
    """How much the answer falls without each part, float64[parts], mean over draws of a training row in its place."""
    import numpy as np
    import torch
    from captum.attr import FeatureAblation

    draw = np.random.default_rng(seed)
    names = list(row)
    given = tuple(torch.from_numpy(_number(row[name])) for name in names)
    masks = tuple(torch.from_numpy(parts.masks[name]) for name in names)
    ablation = FeatureAblation(_forward(session, row, code))
    sums = np.zeros(len(parts.names))
    for index in draw.integers(0, len(next(iter(training.values()))), _DRAWS):
        others = {name: _fitted(np.array(training[name][index : index + 1]), row[name]) for name in names}
        baselines = tuple(torch.from_numpy(_number(others[name])) for name in names)
        found = ablation.attribute(
            given, baselines=baselines, feature_mask=masks, perturbations_per_eval=_AT_ONCE
        )
        for name, weights in zip(names, found, strict=True):
            numbers, first = np.unique(parts.masks[name], return_index=True)
            sums[numbers] += weights.numpy().reshape(-1)[first]
    return sums / _DRAWS


def _forward(
    session: "onnxruntime.InferenceSession", row: "Arrays", code: int | None
) -> "Callable[..., torch.Tensor]":
    """The served file as a function of tensors: the number that is explained, [n]."""
    import torch

    def forward(*tensors: torch.Tensor) -> torch.Tensor:
        feed = {n: t.numpy().astype(a.dtype) for (n, a), t in zip(row.items(), tensors, strict=True)}
        outputs = session.run(None, feed)[0]
        columns = torch.from_numpy(outputs.reshape(len(outputs), -1)).double()
        return columns[:, code or 0] if code is None else columns[:, code] - _rest(columns, code)

    return forward


def _rest(columns: "torch.Tensor", code: int) -> "torch.Tensor":
    """The best of the other classes: a class wins by its distance from it."""
    others = columns.clone()
    others[:, code] = -float("inf")
    return others.max(dim=1).values


def _number(array: "Array") -> "Array":
    """captum multiplies by its masks: truth values and small integers as int64."""
    return array.astype("int64") if array.dtype.kind in "biu" else array.copy()


def _fitted(other: "Array", like: "Array") -> "Array":
    """A training row cut or repeated to this row's lengths."""
    import numpy as np

    for axis, size in enumerate(like.shape):
        if other.shape[axis] != size:
            other = np.take(other, np.arange(size) % other.shape[axis], axis=axis)
    return other


def _agreement(one: "Array", other: "Array") -> float:
    """Correlation of the weights; 1 for a row whose parts all weigh the same."""
    import numpy as np

    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return 1.0
    return float(np.corrcoef(one, other)[0, 1])
