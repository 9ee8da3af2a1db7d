"""Recorded rows beside their labels: which of them were answered rightly."""

import datetime
from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import UserError
from tasks.goals.metric import Array
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.storage import bring
from tasks.traffic.answers import Answers, answers_of, check_by_row
from tasks.traffic.labels import Key, Matched, labels_of, match, read_labels
from tasks.traffic.pairs import AHEAD, read_pairs
from tasks.traffic.requests import read_traffic, traffic_of

_EVER = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Judged:
    """Rows oldest first: `times` [n] in seconds since 1970, `labels` [n], `right` float64[n], NaN where no label says so or not.

    `repeated` ids came again with other requests, whose rows have no label; `ahead` are the requests of clocks far before ours, held back.
    """

    table: pa.Table
    times: Array
    labels: list[str | None]
    right: Array
    matched: Matched
    repeated: int
    ahead: tuple[str, ...]
    left_out: int
    answers: Mapping[str, Answers]


def judged(
    settings: Settings,
    model: str,
    now: datetime.datetime,
    horizon: datetime.timedelta | None = None,
    wanted: tuple[str, ...] = ("outputs.",),
) -> Judged:
    """The recorded rows of every version that is in the registry; with a `horizon`, by labels that came within it.

    Raises UserError for a model that is not in the registry, has no recorded rows, or is not scored row by row.
    """
    registry = Registry(settings)
    check_model(registry, model)
    table = _recorded(settings, model, wanted)
    if table is None:
        raise UserError(
            f"No traffic of {model} is on record: `slipway serve {model}@champion --record 0.1` records a tenth of it."
        )
    recorded, ahead = _held_back(table, now)
    table, answers = _of_versions(registry, model, recorded)
    times = _seconds(table)
    owned, repeated = _owned(table, times)
    of_rows = {key: float(times[place]) for key, place in owned.items()}
    labels_there = read_labels(labels_of(settings.home, model))
    matched = match(labels_there, {**_paired(settings, model), **of_rows}, horizon)
    labels: list[str | None] = [None] * len(times)
    for key in owned.keys() & matched.words.keys():
        labels[owned[key]] = matched.words[key]
    right, by = np.full(len(times), np.nan), table["version"].to_numpy()
    there = np.array([label is not None for label in labels], bool)
    for version, said in answers.items():
        places = np.flatnonzero(there & (by == version))
        if len(places):
            right[places] = said.right(
                _outputs(table.take(places), said), [labels[place] or "" for place in places]
            )
    left_out = len(recorded) - len(table)
    return Judged(table, times, labels, right, matched, repeated, ahead, left_out, answers)


def on_record(settings: Settings, model: str) -> Set[Key]:
    """The rows that a label can be of: those that were recorded, and those on which versions differed."""
    table = _recorded(settings, model)
    owned = {} if table is None else _owned(table, _seconds(table))[0]
    return owned.keys() | _paired(settings, model).keys()


def _recorded(settings: Settings, model: str, wanted: tuple[str, ...] = ("outputs.",)) -> pa.Table | None:
    """All rows that there are, here and in the store, oldest first."""
    bring(settings.store, settings.home, traffic_of(settings.home, model))
    bring(settings.store, settings.home, labels_of(settings.home, model))
    table = read_traffic(traffic_of(settings.home, model), _EVER, wanted)
    return None if table is None else table.sort_by("time")


def _paired(settings: Settings, model: str) -> dict[Key, float]:
    hours = read_pairs(traffic_of(settings.home, model))
    return {pair.key: pair.time for hour in hours for pair in hour.differ}


def _seconds(table: pa.Table) -> Array:
    seconds: Array = pc.cast(table["time"], pa.int64()).to_numpy() / 1e6
    return seconds


def _held_back(table: pa.Table, now: datetime.datetime) -> tuple[pa.Table, tuple[str, ...]]:
    early = pc.less_equal(table["time"], pa.scalar(now + AHEAD, table["time"].type))
    late = table.filter(pc.invert(early)).select(["id", "time"]).to_pylist()
    return table.filter(early), tuple(
        sorted({f"{row['id']} of {row['time']:%Y-%m-%d %H:%M}" for row in late})
    )


def _of_versions(registry: Registry, model: str, table: pa.Table) -> tuple[pa.Table, dict[str, Answers]]:
    """The rows of versions that are in the registry with the bytes that answered, and how each one's answers are read."""
    answers: dict[str, Answers] = {}
    for made in table.group_by(["version", "digest"]).aggregate([]).to_pylist():
        number = made["version"]
        version = registry.version(model, int(number)) if number.isdecimal() else None
        if version is not None and version.sha256 == made["digest"]:
            answers[number] = answers_of(registry, version)
            check_by_row(answers[number].workload)
    digests = [said.evidence.model_sha256 for said in answers.values()]
    ours = pc.and_(
        pc.is_in(table["version"], pa.array([*answers], pa.string())),
        pc.is_in(table["digest"], pa.array(digests, pa.string())),
    )
    return table.filter(ours), answers


def _owned(table: pa.Table, times: Array) -> tuple[dict[Key, int], int]:
    """The place of each row that a label can name, and how many ids came again: the first request of an id has it."""
    first: dict[str, float] = {}
    owned: dict[Key, int] = {}
    again: set[str] = set()
    rows = zip(table["id"].to_pylist(), table["row"].to_pylist(), times.tolist(), strict=True)
    for place, (name, row, time) in enumerate(rows):
        if name is not None and first.setdefault(name, time) == time and (name, row) not in owned:
            owned[name, row] = place
        elif name is not None:
            again.add(name)
    return owned, len(again)


def _outputs(table: pa.Table, answers: Answers) -> dict[str, Array]:
    """A version's outputs as arrays [n, values] by name."""
    decided = f"outputs.{answers.goal.served[0]}" in table.column_names
    flat = {
        name: pc.list_flatten(table[f"outputs.{name}"]).to_numpy()
        for name in (answers.goal.served if decided else answers.goal.outputs)
    }
    return {
        name: (values.astype(str) if values.dtype == object else values).reshape(len(table), -1)
        for name, values in flat.items()
    }
