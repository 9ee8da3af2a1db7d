"""Rows worth a label: two versions answered them differently, and nobody has said yet which was right."""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import UserError
from tasks.registry.lookup import check_model, find_version
from tasks.registry.registry import Registry
from tasks.rollout.policy import RolloutPolicy
from tasks.settings import Settings
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen
from tasks.system.storage import bring
from tasks.traffic.answers import answers_of
from tasks.traffic.labels import labels_of, match, read_labels
from tasks.traffic.pairs import first_of_each, in_columns, read_pairs
from tasks.traffic.requests import PAIRS, traffic_of


class WantedRow(Frozen):
    """One row to look at: what was asked, as the record has it, and what each version said."""

    id: str
    row: int
    time: datetime.datetime
    old_version: int
    old: str
    new_version: int
    new: str
    asked: dict[str, Any]


class Wanted(Frozen):
    """The rows, oldest first; how many have a label; and of how many one would come too late to count in a rollout."""

    model: str
    rows: tuple[WantedRow, ...]
    labelled: int
    late: int


def wanted(settings: Settings, model: str, now: datetime.datetime) -> Wanted:
    """What labels are asked for. Raises UserError for a model that is not in the registry."""
    registry = Registry(settings)
    check_model(registry, model)
    traffic, labels = traffic_of(settings.home, model), labels_of(settings.home, model)
    bring(settings.store, settings.home, traffic, PAIRS)
    bring(settings.store, settings.home, labels)
    pairs = first_of_each(pair for hour in read_pairs(traffic, asked=True) for pair in hour.differ)
    words = match(read_labels(labels), {pair.key: pair.time for pair in pairs}).words
    unlabelled = [pair for pair in pairs if pair.key not in words]
    horizon = (settings.policy(model).rollout or RolloutPolicy()).horizon
    asked = [pair for pair in unlabelled if pair.time >= (now - horizon).timestamp()]
    old = _in_words(registry, model, [(pair.old, pair.old_outputs) for pair in asked])
    new = _in_words(registry, model, [(pair.new, pair.new_outputs) for pair in asked])
    rows = [
        WantedRow(
            id=pair.id,
            row=pair.row,
            time=datetime.datetime.fromtimestamp(pair.time, datetime.UTC),
            old_version=pair.old,
            old=before,
            new_version=pair.new,
            new=after,
            asked=pair.asked,
        )
        for pair, before, after in zip(asked, old, new, strict=True)
    ]
    return Wanted(
        model=model,
        rows=tuple(rows),
        labelled=len(pairs) - len(unlabelled),
        late=len(unlabelled) - len(asked),
    )


def write_wanted(path: Path, rows: Sequence[WantedRow]) -> None:
    """A file with an empty column `label`, which `slipway labels add` takes once it is filled in. Raises UserError for another ending than .csv or .jsonl."""
    table = [
        {"id": row.id, "row": row.row, "label": None, **row.model_dump(mode="json", exclude={"id", "row"})}
        for row in rows
    ]
    if path.suffix == ".jsonl":
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in table)
    elif path.suffix == ".csv":
        shown = [{**line, "asked": json.dumps(line["asked"], ensure_ascii=False)} for line in table]
        file = io.StringIO()
        writer = csv.DictWriter(
            file,
            ["id", "row", "label", *(name for name in WantedRow.model_fields if name not in ("id", "row"))],
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(shown)
        text = file.getvalue()
    else:
        raise UserError(f"{path} would be no table: give a name that ends in .csv or .jsonl.")
    write_atomically(path, text.encode())


def _in_words(
    registry: Registry, model: str, rows: Sequence[tuple[int, Mapping[str, Sequence[Any]]]]
) -> list[str]:
    """What each version's outputs say."""
    words = [""] * len(rows)
    for number in {version for version, _ in rows}:
        places = [place for place, (version, _) in enumerate(rows) if version == number]
        answers = answers_of(registry, find_version(registry, f"{model}/{number}"))
        said = answers.in_words(in_columns([rows[place][1] for place in places]))
        for place, word in zip(places, said, strict=True):
            words[place] = word
    return words
