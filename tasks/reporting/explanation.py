"""Which pixels, words, genes or columns an answer hangs on: each replaced by what other rows have there, in the served bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.dataset import read_frame
from tasks.errors import UserError
from tasks.proof.evidence import MODEL, Evidence
from tasks.proof.rows import rows_of
from tasks.records import Dataset
from tasks.reporting.attribution import DRAWS, AttributedRow, attribute, captum_installed
from tasks.system.frozen import Frozen
from tasks.system.sentences import first_line
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

STABLE = 0.94
"""Least mean correlation between two seeds' weights at which attributions count as stable.

From there on both seeds name four of a row's five largest parts: 0.80 of them in common on flights (correlation 0.94), 0.82
on cells (0.96), 0.87 on digits (0.97), 0.95 on glosses (0.95); below, 0.64 to 0.82, glosses' short rows apart (20 rows of each
champion, 4 to 32 draws: tests/bench/bench_explain.py). It says that the draws were enough, and not that the model is right: at
32 draws a model whose weights were shuffled agrees with itself as well. Two rows' weights agree to 0.1 (cells, digits) or 0.6.
"""


class Feature(Frozen):
    """One part of a row, and how much the answer falls (or rises, below zero) when others' values stand in its place."""

    name: str
    weight: float


class ExplainedRow(Frozen):
    """One row: what the model says of it, and its parts in the order of the inputs."""

    row: int
    answer: str
    features: tuple[Feature, ...]


class Explanation(Frozen):
    """What a version's answers on some rows hang on. `agreement`: mean correlation between two seeds."""

    model: str
    version: int | None
    rows: tuple[ExplainedRow, ...]
    agreement: float
    method: str = f"captum FeatureAblation, {DRAWS} draws from training rows, mean of two seeds"

    @property
    def stable(self) -> bool:
        return self.agreement >= STABLE

    def overall(self) -> list[Feature]:
        """Each part's mean absolute weight over the rows, largest first."""
        sums: dict[str, float] = {}
        for row in self.rows:
            for feature in row.features:
                sums[feature.name] = sums.get(feature.name, 0.0) + abs(feature.weight) / len(self.rows)
        return [Feature(name=n, weight=w) for n, w in sorted(sums.items(), key=lambda item: -item[1])]


def explain_version(evidence: Evidence, version: int, folder: Path, rows: str, home: Path) -> Explanation:
    """Explain a version's own bytes in `folder` on `rows`: a count, numbers of test rows (3,17), or a CSV or Parquet file.

    The test rows are those that the version was judged on, whatever its workload loads by now. Raises UserError for rows
    that are not there, and when captum is not installed.
    """
    if not captum_installed():
        raise UserError("slipway explain needs captum: pip install 'slipway[explain]'.")
    dataset = rows_of(evidence, home / "datasets")
    frame, numbers = requested_rows(rows, read_frame(dataset, "test"))
    workload = load_workload(evidence.workload)
    explanation = explain(workload, dataset, folder / MODEL, frame, numbers)
    return explanation.model_copy(update={"version": version})


def explain(
    workload: Workload, dataset: Dataset, file: Path, frame: "pd.DataFrame", numbers: list[int]
) -> Explanation:
    """Explain the ONNX file's answers on the rows of `frame`, which are called `numbers`."""
    return summarise(workload, list(attribute(workload, dataset, file, frame, numbers)))


def summarise(workload: Workload, rows: Sequence[AttributedRow]) -> Explanation:
    """What is found of rows one by one as one record."""
    agreement = sum(row.agreement for row in rows) / len(rows) if rows else 1.0
    explained = tuple(_explained(row) for row in rows)
    return Explanation(model=workload.name, version=None, rows=explained, agreement=agreement)


def _explained(row: AttributedRow) -> ExplainedRow:
    pairs = zip(row.parts.names, row.weights, strict=True)
    features = tuple(Feature(name=name, weight=float(weight)) for name, weight in pairs)
    return ExplainedRow(row=row.number, answer=row.answer, features=features)


def requested_rows(rows: str, test: "pd.DataFrame") -> "tuple[pd.DataFrame, list[int]]":
    import pandas as pd

    if rows.endswith((".csv", ".parquet")):
        if not Path(rows).is_file():
            raise UserError(f"There is no file {rows} with rows to explain.")
        frame = _csv_rows(Path(rows), test) if rows.endswith(".csv") else pd.read_parquet(rows)
        return frame, list(range(len(frame)))
    try:
        asked = [int(number) for number in rows.split(",") if number]
    except ValueError:
        raise UserError(
            f"{rows!r} names no rows: give a count (5), numbers of test rows (3,17), or a .csv or .parquet file."
        ) from None
    numbers = asked if "," in rows or not asked else list(range(min(asked[0], len(test) + 1)))
    if not numbers or min(numbers) < 0 or max(numbers) >= len(test):
        raise UserError(f"{rows!r} does not fit: there are {len(test)} test rows, from 0 to {len(test) - 1}.")
    return test.iloc[numbers].reset_index(drop=True), numbers


def _csv_rows(path: Path, like: "pd.DataFrame") -> "pd.DataFrame":
    """A file's rows with columns of the kinds that were learned from: a code of digits, 007, is text there too."""
    import pandas as pd
    from pandas.api.types import is_datetime64_any_dtype, is_object_dtype, is_string_dtype

    columns = [name for name in pd.read_csv(path, nrows=0).columns if name in like]
    text = [name for name in columns if is_object_dtype(like[name]) or is_string_dtype(like[name])]
    times = [name for name in columns if is_datetime64_any_dtype(like[name])]
    frame = pd.read_csv(path, dtype=dict.fromkeys(text, str), parse_dates=times)
    try:
        return frame.astype({name: like[name].dtype for name in columns if name not in text})
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} has cells of another kind than was learned from: {first_line(error)}."
        ) from None
