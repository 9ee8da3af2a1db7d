"""The parts of a checkup that look at a workload's rows: its file, what it loads, its inputs and splits, its settings."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.compression.catalogue import check_run
from tasks.data.arrays import said_of, spec_of, to_inputs
from tasks.data.asked import with_codec
from tasks.data.dataset import read_split
from tasks.data.fingerprint import fingerprint
from tasks.data.splits import SPLITS
from tasks.errors import UserError
from tasks.preflight.bench import Bench, Doubt
from tasks.preflight.leaks import telling_input
from tasks.recipes import TorchStep
from tasks.records import Dataset
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]

_FEW, _SOME = 7, 200


def look_at_file(bench: Bench) -> str:
    workload = bench.workload
    check_run(bench.workload, bench.run)
    return f"workload {workload.name}: {'; '.join(goal.said for goal in workload.goals)}"


def look_at_rows(bench: Bench) -> str:
    frame, workload = bench.frame, bench.workload
    first = "" if bench.stream is None else "the first "
    said = f"{first}{len(frame):,} rows of {len(frame.columns)} columns hold the schema"
    with said_of(workload):
        return "; ".join([said, *(goal.target.describe(frame) for goal in workload.goals)])


def look_at_splits(bench: Bench) -> str:
    dataset = bench.dataset
    if bench.stream is None and dataset.fingerprint != with_codec(
        fingerprint(bench.frame), bench.workload.reading
    ):
        raise Doubt(
            "load() gave other rows when it was called again: unless the source grew meanwhile, fix its seed and order, "
            "or no run is ever unchanged."
        )
    if lost := list(_lost_classes(bench.workload, dataset)):
        raise Doubt(f"{'; '.join(lost)}: more rows, or another data.salt, would score them.")
    if bench.run.train is None:
        rows = dataset.rows
        return f"{rows['validation']:,} choose, {rows['test']:,} judge, and none trains (train=None)"
    return ", ".join(f"{dataset.rows[split]:,} {split}" for split in SPLITS)


def _lost_classes(workload: Workload, dataset: Dataset) -> Iterator[str]:
    for split in SPLITS:
        targets = read_split(dataset, split).targets
        for goal, target, fitted in zip(workload.goals, targets, dataset.fitted, strict=True):
            if absent := [word for word, count in goal.target.counts(target, fitted) if not count]:
                yield f"no {split} row is {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}"


def look_at_inputs(bench: Bench) -> str:
    """A request comes alone and a training row among others: both have to become the same tensors."""
    workload, frame = bench.workload, bench.frame
    among = to_inputs(workload, frame.head(_SOME))
    for size in (1, min(_FEW, len(frame))):
        for name, array in to_inputs(workload, frame.head(size)).items():
            ours, theirs = _common(array, among[name][:size])
            if ours.dtype != theirs.dtype or not np.allclose(ours, theirs, rtol=1e-6, equal_nan=True):
                raise UserError(
                    f"inputs()[{name!r}] gives the first {'row' if size == 1 else f'{size} rows'} other values alone than "
                    "among others: fit scales and vocabularies in the model, on the training inputs that it can ask for."
                )
    said = ", ".join(str(spec_of(workload, name, array)) for name, array in among.items())
    if (told := telling_input(workload, frame)) is not None:
        raise Doubt(
            f"{said}; {told[0]} alone tells the target {told[1]} in every row: leave it out if it is the truth, or is known only after it."
        )
    return said


def _common(alone: Array, among: Array) -> tuple[Array, Array]:
    """The part that both have: padding differs with the longest row of a batch."""
    if alone.ndim != among.ndim:
        raise UserError(
            f"inputs() gives arrays of shape {list(alone.shape)} and {list(among.shape)} for the same rows."
        )
    part = tuple(slice(0, min(sizes)) for sizes in zip(alone.shape, among.shape, strict=True))
    return alone[part], among[part]


def look_at_recipes(bench: Bench) -> str:
    check_run(bench.workload, bench.run, bench.dataset.rows["train"])
    why = bench.workload.why_untrainable(bench.run.model)
    left = [r.name for r in bench.run.recipes if why and any(isinstance(step, TorchStep) for step in r.steps)]
    names = [recipe.name for recipe in bench.run.recipes if recipe.name not in left]
    said = f"fp32 and {', '.join(names)} would be tried" if names else "fp32 alone would be tried"
    return f"{said}; not {', '.join(left)}, which {why}" if left else said
