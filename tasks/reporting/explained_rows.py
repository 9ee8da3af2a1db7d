"""The report's part on what answers hang on: pictures of a few test rows, made in seconds or, in a sentence, not made."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.data.arrays import Array
from tasks.data.dataset import read_split
from tasks.records import Dataset
from tasks.reporting import charts
from tasks.reporting.attribution import AttributedRow, TooLongError, attribute_test_rows, captum_installed
from tasks.reporting.explanation import Explanation, summarise
from tasks.system.sentences import first_line
from tasks.workloads.catalogue import load_workload

_MOST_ROWS, _SECONDS = 30, 2.0

_LONGEST = 20.0
"""Seconds of CPU for one row: a page is not what a run should wait for."""

_SHOWN_ROWS, _SHOWN_PARTS, _PARTS_A_ROW = 6, 15, 4

_WORD = re.compile(r"^(?P<word>.+) \(\d+\)$")

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Word:
    """A word of a text, and its weight as a share of the row's largest, -1 to 1."""

    text: str
    share: float

    @property
    def colour(self) -> str:
        """Blue for what holds the answer up, red for what speaks against it; ink stays legible on both."""
        red, green, blue = (36, 99, 176) if self.share > 0 else (179, 38, 30)
        return f"rgba({red},{green},{blue},{0.5 * abs(self.share):.2f})"


@dataclass(frozen=True)
class Row:
    """A test row with what the model says of it, what it is, and the words or the largest parts of it."""

    number: int
    answer: str
    truth: str
    words: tuple[Word, ...] = ()
    largest: str = ""


@dataclass(frozen=True)
class Attributions:
    """What the page shows; `missing` says why there is nothing to show."""

    missing: str = ""
    explanation: Explanation | None = None
    picture: str = ""
    rows: tuple[Row, ...] = ()


def attributions(reference: str, dataset: Dataset, file: Path) -> Attributions:
    """What the file's answers on some test rows hang on; never a reason for a run to fail."""
    if not captum_installed():
        return Attributions(missing="What the answers hang on is not shown: pip install 'slipway[explain]'.")
    try:
        return _attributions(reference, dataset, file)
    except Exception as error:  # a model of any shape, a trained and proved one: a picture must not lose it
        log.warning("attributions were not made", exc_info=True)
        return Attributions(missing=f"What the answers hang on could not be found: {first_line(error, 300)}")


def _attributions(reference: str, dataset: Dataset, file: Path) -> Attributions:
    workload = load_workload(reference)
    try:
        rows = attribute_test_rows(workload, dataset, file, _MOST_ROWS, _SECONDS, _LONGEST)
    except TooLongError as error:
        said = f"What the answers hang on is not shown, for {error}: slipway explain {workload.name} 1 takes that long."
        return Attributions(missing=said)
    explanation = summarise(workload, rows)
    target, goal = read_split(dataset, "test").target, workload.goals[0]
    truths = [goal.target.word(target[row.number], dataset.fitted[0]) for row in rows[:_SHOWN_ROWS]]
    shown = [_row(row, truth) for row, truth in zip(rows, truths, strict=False)]
    if maps := [heat for row in rows[:_SHOWN_ROWS] if (heat := _heat(row)) is not None]:
        titles = [f"{row.answer} (is {row.truth})" for row in shown]
        return Attributions(explanation=explanation, picture=charts.heat_maps(maps, titles))
    if shown[0].words:
        return Attributions(explanation=explanation, rows=tuple(shown))
    largest = [(feature.name, feature.weight) for feature in explanation.overall()[:_SHOWN_PARTS]]
    return Attributions(
        explanation=explanation, picture=charts.weights(largest, len(rows)), rows=tuple(shown)
    )


def _row(row: AttributedRow, truth: str) -> Row:
    pairs = sorted(zip(row.parts.names, row.weights, strict=True), key=lambda pair: -abs(pair[1]))
    largest = ", ".join(f"{name} {weight:+.2g}" for name, weight in pairs[:_PARTS_A_ROW])
    return Row(row.number, row.answer, truth, _words(row), largest)


def _words(row: AttributedRow) -> tuple[Word, ...]:
    """The words of a row that is one text, in order, without what stands behind its end; else none."""
    matches = [_WORD.match(name) for name in row.parts.names]
    if len(row.row) != 1 or not all(matches):
        return ()
    largest = max(abs(row.weights).max(), 1e-12)
    named = zip((match["word"] for match in matches if match), row.weights, strict=True)
    return tuple(Word(word, float(weight / largest)) for word, weight in named if word != "padding")


def _heat(row: AttributedRow) -> tuple[Array, Array] | None:
    """A picture [height, width], its channels' mean, and the weight of each of its places; None for other inputs."""
    name, array = next(iter(row.row.items()))
    if len(row.row) != 1 or array.ndim != 4:
        return None
    return array[0].mean(0), row.weights[row.parts.masks[name][0]].sum(0)
