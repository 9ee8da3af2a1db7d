"""Few rows decide little: train anew on folds of all rows, so that each is predicted by a model that never saw it."""

from pathlib import Path

import numpy as np

from tasks.config import Gates, Train
from tasks.data.arrays import Array, joined
from tasks.data.copies import copies
from tasks.data.dataset import read_split
from tasks.data.splits import SPLITS
from tasks.goals.bootstrap import interval
from tasks.measured import CrossValidation
from tasks.proof.intervals import defined
from tasks.records import Dataset
from tasks.training.checkpoint import load_weights
from tasks.training.loss import check_loss
from tasks.training.module import build_from, predict_goals
from tasks.training.randomness import random_numbers_lock
from tasks.training.trainer import fit
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import marks, score_name, scores_of

_CHOOSING_SHARE = 0.15


def cross_validate(
    reference: str, dataset: Dataset, config: Train, gates: Gates, folder: Path, *, model: str | None = None
) -> CrossValidation:
    """The score over all rows, each predicted by a training on the other `gates.folds` − 1 folds, and its interval.

    A share of those other folds chooses the epoch, so that the fold that is scored chooses nothing.
    """
    workload = load_workload(reference)
    samples = joined([read_split(dataset, name) for name in SPLITS])
    order = np.random.default_rng(config.seed).permutation(len(samples))
    copied = copies(samples)
    outputs, scores = [], []
    for fold in (folds := _folds(order, gates.folds, copied)):
        others = np.setdiff1d(order, fold, assume_unique=True)
        choosing = _choosing(others, samples.group)
        learn, choose = samples[others[~choosing]], samples[others[choosing]]
        with random_numbers_lock:
            module = build_from(workload, learn, dataset.fitted, model, config.seed)
            check_loss(workload, module, choose)
            checkpoint = fit(module, learn, choose, config, folder, workload=workload)
        module.load_state_dict(load_weights(checkpoint))
        outputs.append(predict_goals(workload, module.cpu(), samples[fold].inputs))
        scores.append(defined(marks(workload, samples[fold].truth, outputs[-1])[0]))
    targets = samples[np.concatenate(folds)].truth
    answers = {name: np.concatenate([output[name] for output in outputs]) for name in workload.outputs}
    made = marks(workload, targets, answers)
    together = None if copied is None else copied[np.concatenate(folds)]
    return CrossValidation(
        folds=gates.folds,
        rows=len(samples),
        score=scores_of(workload, made)[0],
        score_name=score_name(workload),
        interval=interval(made[0], gates.confidence, together),
        scores=tuple(value for value in scores if value is not None),
    )


def _folds(order: Array, count: int, copied: Array | None) -> list[Array]:
    """Row numbers, fold by fold; copies of a row are in one, or it would be asked what it has learned."""
    if copied is None:
        return np.array_split(order, count)
    _, first = np.unique(copied[order], return_index=True)
    parts = np.array_split(copied[order][np.sort(first)], count)
    return [order[np.isin(copied[order], part)] for part in parts]


def _choosing(others: Array, groups: Array | None) -> Array:
    """Which of these rows choose the epoch, bool[n]: the first of them, and of rows in groups the first groups whole."""
    if groups is None:
        return np.arange(len(others)) < round(len(others) * _CHOOSING_SHARE)
    there = np.unique(groups[others])
    return np.isin(groups[others], there[: max(1, round(len(there) * _CHOOSING_SHARE))])
