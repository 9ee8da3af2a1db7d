"""Labels on disk: what turned out to be true of rows that were answered. LABELS/MODEL/DAY/*.jsonl.gz, a line a label, append only.

Light: the model server writes what comes by its route.
"""

import datetime
import gzip
import logging
import math
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from tasks.system.files import write_atomically

log = logging.getLogger("slipway")

LONGEST_ID = 128

_LONGEST_LABEL = 1000

_SECONDS = re.compile(r"[0-9]{9,11}(\.[0-9]+)?")
"""A time as seconds since 1970: fewer digits are a day, 20261127."""

Key = tuple[str, int]
"""A row that was answered: its request's id, and its place in it."""


class Label(NamedTuple):
    """What is true of a row; `at` is when that was so, by whoever says it, `received` when it reached us: seconds since 1970."""

    id: str
    row: int
    label: str
    at: float
    received: float

    @property
    def key(self) -> Key:
        return self.id, self.row


def labels_of(home: Path, model: str) -> Path:
    return home / "labels" / model


def label_of(given: Mapping[str, Any], received: float) -> Label:
    """A label out of what a client says: id, label, and where it likes row and at. Raises ValueError with the sentence's end."""
    name, row, label = given.get("id"), given.get("row"), given.get("label")
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= LONGEST_ID
        or not (name.isascii() and name.isprintable())
    ):
        raise ValueError(f"id is {name!r}: give the request's id, 1 to {LONGEST_ID} printable characters")
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if (
        not isinstance(label, str | int | float)
        or label != label
        or not 0 < len(str(label)) <= _LONGEST_LABEL
    ):
        raise ValueError(
            f"label is {label!r}: give a word, of at most {_LONGEST_LABEL} characters, or a number"
        )
    return Label(name, _place(row), str(label), _moment(given.get("at"), received), received)


def write_labels(folder: Path, labels: Iterable[Label]) -> Path:
    """A file of its own with these labels below a model's `folder`. Raises OSError with nothing written."""
    day, name = (
        time.strftime("%Y-%m-%d", time.gmtime()),
        f"{time.time_ns()}-{os.getpid()}-{os.urandom(4).hex()}",
    )
    path = folder / day / f"{name}.jsonl.gz"
    lines = b"".join(to_json(label._asdict()) + b"\n" for label in labels)
    write_atomically(path, gzip.compress(lines, compresslevel=1))
    return path


def read_labels(folder: Path) -> Iterator[Label]:
    """All labels of a model, in no order to rely on; what cannot be read is left out and said in the log."""
    for path in sorted(folder.glob("*/*.jsonl.gz")):
        try:
            lines = gzip.decompress(path.read_bytes()).splitlines()
            yield from [Label(**label) for label in from_json(b"[%b]" % b",".join(lines))]
        except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
            log.warning("%s is left out, it cannot be read: %s", path, error)


def standing(labels: Iterable[Label]) -> dict[Key, str | None]:
    """What is true of each row, whatever the order: the newest `at` has it. None: two that are as new say different things."""
    newest: dict[Key, tuple[float, str | None]] = {}
    for label in labels:
        at, word = newest.get(label.key, (-math.inf, None))
        if label.at > at:
            newest[label.key] = label.at, label.label
        elif label.at == at and label.label != word:
            newest[label.key] = at, None
    return {key: word for key, (_, word) in newest.items()}


class Matched(NamedTuple):
    """Labels and the rows that they are of: what holds of each, what contradicts itself, and whose rows are not on record."""

    words: dict[Key, str]
    conflicts: int
    unknown: int


def match(
    labels: Iterable[Label], times: Mapping[Key, float], horizon: datetime.timedelta | None = None
) -> Matched:
    """Labels of rows that were answered at `times`, seconds since 1970; with a `horizon` only those that came within it."""
    patience = math.inf if horizon is None else horizon.total_seconds()
    unknown: set[Key] = set()

    def of_rows() -> Iterator[Label]:
        for label in labels:
            time_of_row = times.get(label.key)
            if time_of_row is None:
                unknown.add(label.key)
            elif label.received - time_of_row <= patience:
                yield label

    said = standing(of_rows())
    words = {key: word for key, word in said.items() if word is not None}
    return Matched(words, len(said) - len(words), len(unknown))


def _place(row: Any) -> int:
    if row is None or row == "":
        return 0
    if isinstance(row, str) and row.isdecimal() or isinstance(row, float) and row.is_integer():
        row = int(row)
    if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < 2**31:
        raise ValueError(f"row is {row!r}: give the row's place in its request, 0 for the first")
    return row


def _moment(at: Any, received: float) -> float:
    """Seconds since 1970; a time without a zone is UTC."""
    if at is None or at == "":
        return received
    try:
        if isinstance(at, str):
            at = float(at) if _SECONDS.fullmatch(at) else datetime.datetime.fromisoformat(at.strip())
        if isinstance(at, datetime.datetime):
            at = (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
        if isinstance(at, bool) or not math.isfinite(at):
            raise ValueError
        return float(at)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"at is {at!r}: give a time such as 2026-11-27T14:00:00Z") from error
