"""Rows that two versions answered: how many agreed, and what labels say of those that did not.

TRAFFIC/MODEL/DAY/HOUR/*.pairs.jsonl.gz: a line a row on which they differ, and a line of counts for all pairs of that file, so that
a cut in time is a cut in both.
"""

import datetime
import gzip
import hashlib
import json
import logging
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic_core import from_json

from tasks.goals.metric import Arrays
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.rollout.counts import LabelCounts
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import RolloutRecord
from tasks.settings import Settings
from tasks.system.storage import bring
from tasks.traffic.answers import answers_of
from tasks.traffic.counted_files import CountedFile, CountedFiles, Row, counted_files
from tasks.traffic.labels import Key, labels_of, match, read_labels
from tasks.traffic.requests import PAIRS, traffic_of

log = logging.getLogger("slipway")

AHEAD = datetime.timedelta(minutes=5)
"""A clock this far before ours is wrong: what it wrote waits."""


class Pair(NamedTuple):
    """A row that the versions `new` and `old` answered differently; outputs by name, a list of values each."""

    id: str
    row: int
    time: float
    new: int
    old: int
    new_outputs: dict[str, list[Any]]
    old_outputs: dict[str, list[Any]]
    asked: dict[str, list[Any]]

    @property
    def key(self) -> Key:
        return self.id, self.row


Told = TypeVar("Told", Pair, Row)


class Hour(NamedTuple):
    """One file of one rollout: when it was closed, how many pairs it counts, and those of them that differ."""

    closed: float
    pairs: int
    agreed: int
    differ: tuple[Pair, ...]


class Labelled(NamedTuple):
    """What labels say of a rollout, and the SHA-256 over the rows and labels that say it."""

    counts: LabelCounts
    sha256: str


def labelled(
    settings: Settings,
    model: str,
    record: RolloutRecord,
    policy: RolloutPolicy,
    now: datetime.datetime,
    *,
    anew: bool = False,
) -> Labelled:
    """What labels say of the rollout's pairs of before `now` less the horizon; zeros where nothing was recorded.

    A pair that a client's id names again has no label: the first has it. `anew`: from the files themselves, and not from what was
    remembered of them.

    Raises UserError for a model whose rows have no scores of their own, EvidenceError for a version whose evidence does not hold.
    """
    bring(settings.store, settings.home, traffic_of(settings.home, model), PAIRS)
    bring(settings.store, settings.home, labels_of(settings.home, model))
    counted = counted_files(settings.home, record, remembered=not anew)
    rows = _RolloutRows(traffic_of(settings.home, model), record, counted)
    ripe = [
        file for file in _of_our_time(rows.files, now) if file.closed < (now - policy.horizon).timestamp()
    ]
    pairs = first_of_each(row for file in ripe for row in file.rows)
    labels = read_labels(labels_of(settings.home, model)) if pairs else ()
    words = match(labels, {pair.key: pair.time for pair in pairs}, policy.horizon).words
    told_of = [pair for pair in pairs if pair.key in words]
    rows.hold(settings, told_of, words)
    counted.keep()
    told = Counter(pair.right for pair in told_of)
    agreed = sum(file.agreed for file in ripe)
    matured = agreed + sum(max(file.pairs - file.agreed, len(file.rows)) for file in ripe)
    better, worse, neither = told[True, False], told[False, True], told[False, False]
    counts = LabelCounts(
        matured=matured,
        agreed=agreed,
        better=better,
        worse=worse,
        neither=neither,
        missing=matured - agreed - better - worse - neither,
    )
    said = sorted([pair.id, pair.row, words.get(pair.key)] for pair in pairs)
    return Labelled(counts, hashlib.sha256(json.dumps([matured, agreed, said]).encode()).hexdigest())


def _of_our_time(hours: Iterable[CountedFile], now: datetime.datetime) -> Iterator[CountedFile]:
    """Without those that a clock wrote which is far ahead of ours; they are named."""
    for hour in hours:
        if hour.closed <= (now + AHEAD).timestamp():
            yield hour
        else:
            log.warning("%s pairs wait: a clock far ahead wrote %s", hour.pairs, time.ctime(hour.closed))


class _RolloutRows:
    """The rows of a rollout on which the versions differ; their answers are read only of files that are new, or have a new label."""

    def __init__(self, folder: Path, record: RolloutRecord, counted: CountedFiles) -> None:
        self.folder = folder
        self.record = record
        self.counted = counted
        self.hours: dict[str, Hour] = {}
        self.files = tuple(counted.read(folder, PAIRS, self._counted))

    def _counted(self, path: Path, name: str, size: int) -> CountedFile | None:
        hours = _read(path, self.record.run)
        if not hours:
            return None if hours is None else CountedFile(name, size)
        hour = self.hours[name] = hours[0]
        rows = [Row(pair.id, pair.row, pair.time) for pair in hour.differ]
        return CountedFile(name, size, hour.closed, hour.pairs, hour.agreed, rows)

    def hold(self, settings: Settings, rows: Sequence[Row], words: Mapping[Key, str]) -> None:
        """Have each row say what its label, of `words`, says of the versions."""
        new = {id(row) for row in rows if row.word != words[row.key]}
        held: list[Row] = []
        pairs: list[Pair] = []
        for file in self.files if new else ():
            there = [(place, row) for place, row in enumerate(file.rows) if id(row) in new]
            hour = self._hour(file) if there else None
            if hour is not None:
                held += [row for _, row in there]
                pairs += [hour.differ[place] for place, _ in there]
        said = _right(settings, self.record, pairs, [words[row.key] for row in held])
        for row, right in zip(held, said, strict=True):
            row.word, row.right, self.counted.changed = words[row.key], right, True

    def _hour(self, file: CountedFile) -> Hour | None:
        hours = _read(self.folder / file.name, self.record.run) if file.name not in self.hours else None
        hour = hours[0] if hours else self.hours.get(file.name)
        return hour if hour is not None and len(hour.differ) == len(file.rows) else None


def read_pairs(folder: Path, run: str | None = None, *, asked: bool = False) -> Iterator[Hour]:
    """The recorded pairs of a rollout (None: of all), a file at a time, oldest first; what was `asked` is large, and left out."""
    for path in sorted(folder.glob(f"*/*/*{PAIRS}")):
        yield from _read(path, run, asked) or ()


def _read(path: Path, run: str | None, asked: bool = False) -> list[Hour] | None:
    """One file, or nothing of it; None, said in the log, where it cannot be read."""
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        return [*_hours(from_json(b"[%b]" % b",".join(lines)), run, asked)]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        log.warning("%s is left out, it cannot be read: %s", path, error)
        return None


def first_of_each(pairs: Iterable[Told]) -> list[Told]:
    """Oldest first; of those that a client gave the same id, the first."""
    first: dict[str, Told] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.time, pair.key)):
        first.setdefault(pair.id, pair)
    return list(first.values())


def _hours(lines: Sequence[Mapping[str, Any]], run: str | None, asked: bool) -> Iterator[Hour]:
    wanted = [line for line in lines if run is None or line.get("rollout") == run]
    counts = [line for line in wanted if "pairs" in line]
    differ = tuple(_pair(line, asked) for line in wanted if "pair" in line)
    if wanted:
        yield Hour(
            closed=max(line["time"] for line in wanted),
            pairs=sum(line["pairs"] for line in counts),
            agreed=sum(line["agreed"] for line in counts),
            differ=differ,
        )


def _pair(line: Mapping[str, Any], asked: bool) -> Pair:
    pair, new = line["pair"], int(line["pair"]["new"])
    answered, other = _values(line, "outputs."), pair["other"]
    by_new = int(line["version"]) == new
    return Pair(
        id=line["id"],
        row=pair["row"],
        time=line["time"],
        new=new,
        old=int(pair["old"]),
        new_outputs=answered if by_new else other,
        old_outputs=other if by_new else answered,
        asked=_values(line, "inputs.") if asked else {},
    )


def _values(line: Mapping[str, Any], kind: str) -> dict[str, list[Any]]:
    """Of the one row that a line has."""
    return {name.removeprefix(kind): values[0] for name, values in line.items() if name.startswith(kind)}


def in_columns(rows: Sequence[Mapping[str, Sequence[Any]]]) -> Arrays:
    """Outputs row by row as arrays [n, values] by name; null is NaN."""
    return {
        name: np.array([row[name] for row in rows], str if isinstance(first[0], str) else float)
        for name, first in (rows[0].items() if rows else ())
    }


def _right(
    settings: Settings, record: RolloutRecord, pairs: Sequence[Pair], labels: Sequence[str]
) -> Sequence[tuple[bool, bool] | None]:
    """Whether the new version, and the old one, said what the label says; None for a label that neither knows."""
    if not pairs:
        return ()
    registry, said = Registry(settings), []
    for number, outputs in (
        (record.new, [p.new_outputs for p in pairs]),
        (record.old, [p.old_outputs for p in pairs]),
    ):
        answers = answers_of(registry, find_version(registry, f"{record.model}/{number}"))
        said.append(answers.right(in_columns(outputs), labels))
    known = np.isfinite(np.array(said)).any(axis=0)
    new, old = said
    right = zip((new == 1).tolist(), (old == 1).tolist(), known.tolist(), strict=True)
    return [(by_new, by_old) if usable else None for by_new, by_old, usable in right]
