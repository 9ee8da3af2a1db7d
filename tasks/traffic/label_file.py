"""A file of labels into the record: all of it, or nothing and why not."""

import csv
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.errors import StepError, UserError
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.files import why_not_written
from tasks.system.frozen import Frozen
from tasks.system.sentences import first_line, some
from tasks.system.storage import ObjectStorage
from tasks.traffic.answers import answers_of
from tasks.traffic.labelled_rows import on_record
from tasks.traffic.labels import Label, label_of, labels_of, write_labels

_ALIASES = ("champion", "challenger", "previous")

_COLUMNS = ("id", "row", "label", "at")


class Added(Frozen):
    """What came of a file: labels that were taken, of how many no row is on record, and rows that had none yet."""

    model: str
    labels: int
    unknown: int
    empty: int


def add_labels(settings: Settings, model: str, path: Path) -> Added:
    """Take a .csv, .parquet or .jsonl file with the columns id and label, and if there are any row and at; others are let be.

    Raises UserError, with nothing taken, for a file or a cell that is none, and for a label that no version of the model knows.
    """
    registry = Registry(settings)
    check_model(registry, model)
    received, labels, empty = time.time(), [], 0
    for place, given in _rows(path):
        if given.get("label") in (None, ""):
            empty += 1
            continue
        try:
            labels.append((place, label_of(given, received)))
        except ValueError as error:
            raise UserError(f"{path}, {place}: {error}.") from error
    _check_classes(registry, model, path, labels)
    if labels:
        _keep(settings, model, [label for _, label in labels])
    there = on_record(settings, model)
    unknown = sum(label.key not in there for _, label in labels)
    return Added(model=model, labels=len(labels), unknown=unknown, empty=empty)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row stands in the file, and what it has by column."""
    read = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}.get(path.suffix)
    if read is None:
        raise UserError(f"{path} is no file of labels: give one that ends in .csv, .parquet or .jsonl.")
    try:
        yield from read(path)
    except (
        OSError,
        ValueError,
        csv.Error,
    ) as error:  # what is no UTF-8, no JSON and no Parquet is a ValueError
        raise UserError(f"{path} cannot be read: {first_line(error)}.") from error


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        _check_columns(str(path), reader.fieldnames or ())
        for row in reader:
            yield f"line {reader.line_num}", row


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, partitioning=None)
    _check_columns(str(path), table.column_names)
    rows = table.select([name for name in _COLUMNS if name in table.column_names]).to_pylist()
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line) if line.strip() else None
            if row is not None:
                _check_columns(f"{path}, line {number},", row if isinstance(row, dict) else ())
                yield f"line {number}", row


def _check_columns(where: str, names: Iterable[str]) -> None:
    there = [*names]
    for name in ("id", "label"):
        if name not in there:
            raise UserError(
                f"{where} has no column {name!r}; it has {some(there) if there else 'none'}: labels are columns id and label, and where "
                "they are needed row and at."
            )


def _check_classes(registry: Registry, model: str, path: Path, labels: list[tuple[str, Label]]) -> None:
    """Of what serves, what may come next and what served before: a rollout's new version may know more than the champion."""
    versions = [version for alias in _ALIASES if (version := registry.by_alias(model, alias))]
    classes = {name for version in versions for name in answers_of(registry, version).classes}
    for place, label in labels:
        if classes and label.label not in classes:
            raise UserError(
                f"{path}, {place}: {label.label!r} is no class of {model}: it knows {some(sorted(classes))}."
            )


def _keep(settings: Settings, model: str, labels: list[Label]) -> None:
    folder = labels_of(settings.home, model)
    try:
        path = write_labels(folder, labels)
    except OSError as error:
        raise StepError(
            why_not_written("A file of labels", settings.home, 100 * len(labels), error)
        ) from error
    if settings.store is not None:
        ObjectStorage(settings.store, settings.home).write(path, path.read_bytes())
