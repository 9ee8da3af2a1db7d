"""One training of a search, by the training rows and judged by the validation rows; what need not be kept of it goes."""

import gc
import itertools
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tasks.config import RunConfig
from tasks.errors import StepError
from tasks.measured import TriedTraining
from tasks.records import Dataset, Metric
from tasks.system.processes import cpu_seconds
from tasks.training.groups import check_groups
from tasks.training.metrics import Publish, read_metrics
from tasks.training.module import build_module
from tasks.training.progress import ShowProgress
from tasks.training.proposal import Proposal
from tasks.training.space import with_point
from tasks.training.trainer import train
from tasks.training.unfinished import EndedEarlyError, UnfinishedError
from tasks.workloads.workload import Workload

_JUDGED = ("train", "validation")


def without_test(dataset: Dataset) -> Dataset:
    """The dataset as a search may see it: who asks it for the rows that judge is refused."""
    return dataset.model_copy(update={"rows": {name: dataset.rows[name] for name in _JUDGED}})


def check_points(workload: Workload, dataset: Dataset, run: RunConfig) -> None:
    """Raise UserError for groups of the space that fit none of a model's weights: before the first training, not amid the search."""
    space = run.search.space
    for name, choice in itertools.product(
        space.get("model", (run.model,)), space.get("train.groups", (None,))
    ):
        point = {"model": name} | ({} if choice is None else {"train.groups": choice})
        if (train := with_point(run, point).train) is not None and train.groups:
            check_groups(build_module(workload, dataset, name, train.seed), train.groups)


def try_training(
    reference: str,
    dataset: Dataset,
    proposal: Proposal,
    folder: Path,
    *,
    publish: Publish | None = None,
    progress: ShowProgress | None = None,
) -> TriedTraining:
    """Train as proposed, to its end or until it is below the others; an attempt that was killed goes on.

    Its files stay only where it is better than all before it, or where they were there already: then a run had made them.
    """
    if set(dataset.rows) != {*_JUDGED}:
        raise StepError("A search sees no rows but those to train and those to choose by.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    at, began, cpu = time.time(), time.monotonic(), cpu_seconds()
    state: Literal["finished", "ended early", "failed"] = "finished"
    try:
        checkpoint = train(
            reference,
            dataset,
            proposal.train,
            folder,
            model=proposal.model,
            publish=publish,
            progress=progress,
            bar=proposal.bar,
        )
    except UnfinishedError as end:
        assert end.folder is not None
        kept, why = end.folder, str(end)
        state = "ended early" if isinstance(end, EndedEarlyError) else "failed"
    else:
        kept, why = checkpoint.metrics.parent, checkpoint.stopped
    gc.collect()  # what a loop holds in circles would take the GPU's memory from the next one
    scores = _scores(read_metrics(kept / "metrics.jsonl"))
    best = max((score for score in scores if score is not None), default=None)
    tried = TriedTraining(
        name=proposal.name,
        knobs=proposal.knobs,
        state=state if best is not None else "failed",
        why=why,
        scores=scores,
        score=best if state != "failed" else None,
        cpu_seconds=round(cpu_seconds() - cpu, 3),
        wall_seconds=round(time.monotonic() - began, 3),
        began=round(at, 3),
    )
    if kept.name not in there and not _is_better(tried, proposal.best):
        shutil.rmtree(kept, ignore_errors=True)
    return tried


def _scores(metrics: Sequence[Metric]) -> tuple[float | None, ...]:
    """Validation scores by epoch, from the first; None for one that is not judged, or has no score."""
    epochs = {metric.step: round(metric.value) for metric in metrics if metric.key == "train/epoch"}
    scores = {
        epochs[metric.step]: metric.value
        for metric in metrics
        if metric.key == "validation/score" and metric.step in epochs and math.isfinite(metric.value)
    }
    return tuple(scores.get(epoch) for epoch in range(1, max(scores, default=0) + 1))


def _is_better(tried: TriedTraining, best: float | None) -> bool:
    return tried.state == "finished" and tried.score is not None and (best is None or tried.score > best)
