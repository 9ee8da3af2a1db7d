"""Dataset → Checkpoint: train a workload's module, or go on where a killed training stopped, bit for bit."""

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.data.dataset import read_split
from tasks.errors import StepError, UserError
from tasks.records import Checkpoint, Dataset
from tasks.system.files import sha256_of, why_not_written, write_atomically
from tasks.system.memory import keep_freed_memory
from tasks.system.storage import ObjectStorage, mirrored
from tasks.training.batches import named_order
from tasks.training.checkpoint import CheckpointStore, digest_is_right, files_to_mirror, save
from tasks.training.device import Compute, launched, threads
from tasks.training.groups import check_groups
from tasks.training.loop import Loop, TrainingState
from tasks.training.loss import DistillationLoss, check_loss
from tasks.training.metrics import MetricsLog, Publish, Publisher
from tasks.training.module import build_module
from tasks.training.own_training import OwnTraining
from tasks.training.progress import ShowProgress
from tasks.training.randomness import random_numbers_lock
from tasks.training.unfinished import Bar, UnfinishedError
from tasks.training.untrained import ship
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

log = logging.getLogger(__name__)

_ENDING_SECONDS = 60

_LATER_KNOBS = ("groups", "average", "accumulate")
"""What no training had at first: where they are not used, its key and its bytes are what they were."""


def train(
    reference: str,
    dataset: Dataset,
    config: Train | None,
    folder: Path,
    *,
    model: str | None = None,
    publish: Publish | None = None,
    progress: ShowProgress | None = None,
    store: ObjectStorage | None = None,
    bar: Bar = (),
) -> Checkpoint:
    """Train the workload's module (called `model`; None: its first) on the dataset; see `fit`, and without knobs `ship`.

    With `config.workers` above 1 this is done by so many processes of the Ray cluster that this one is connected to.
    """
    if config is None:
        return ship(load_workload(reference), dataset, folder, model)
    if config.workers > 1 and not launched():
        try:
            from tasks.training.ray import train_on_cluster
        except ImportError as error:
            raise UserError(
                f"train.workers={config.workers} needs Ray: pip install 'slipway[ray]'."
            ) from error
        given: dict[str, Any] = {"model": model, "publish": publish, "store": store, "bar": bar}
        same = partial(train, reference, dataset, config, folder, **given)
        return train_on_cluster(same, config, folder, progress)
    workload = load_workload(reference)
    materials = workload.materials(model)
    with random_numbers_lock:
        module = build_module(workload, dataset, model, config.seed)
        validation = read_split(dataset, "validation")
        check_loss(workload, module, validation)
        check_groups(module, config.groups)
        checkpoint = fit(
            module,
            read_split(dataset, "train"),
            validation,
            config,
            folder,
            workload=workload,
            publish=publish,
            progress=progress,
            store=store,
            bar=bar,
        )
    return checkpoint.model_copy(update={"materials": materials})


def fit(
    module: nn.Module,
    train_rows: Samples,
    validation_rows: Samples,
    config: Train,
    folder: Path,
    *,
    workload: Workload,
    distillation: DistillationLoss | None = None,
    publish: Publish | None = None,
    progress: ShowProgress | None = None,
    store: ObjectStorage | None = None,
    checkpoints: type[CheckpointStore] = CheckpointStore,
    bar: Bar = (),
) -> Checkpoint:
    """Train `module` in place and return where its best weights by validation score are (the module holds the last).

    State is kept in a folder of its own under `folder`, named by everything that decides the outcome: the same call
    again resumes, or returns at once when it was finished; other rows, knobs or initial weights start anew. Metrics go
    to a log there and from it to `publish`, in batches, from another thread; when that fails, training goes on. With
    `distillation`, a teacher has its share in the loss. What is in `store` and not here is fetched first, and checkpoints
    are mirrored there.
    A workload's own `fit` takes the place of our loop.
    Raises UnfinishedError, which says where its metrics are, for a loss that is not finite, scores below `bar` and a batch that a GPU does not hold; StepError for a full disk, and a folder that another process is training in.
    """
    keep_freed_memory()
    with random_numbers_lock, threads(config.threads):
        compute = Compute(config)
        key = _key(module, train_rows, validation_rows, config, workload, distillation, compute.count)
        folder = folder / key[:16]
        first = compute.rank == 0
        with (
            mirrored(store if first else None, folder, files_to_mirror),
            _logging(folder, publish, compute.count) if first else nullcontext() as metrics,
        ):
            done = compute.from_first(lambda: _finished(folder))
            if done is not None:
                return done
            kept, show = checkpoints(folder, key), progress if first else None
            rows = module, train_rows, validation_rows, config, workload
            training: Loop | OwnTraining
            try:
                with compute.exact():
                    if workload.fit is None:
                        training = Loop(*rows, compute, kept, metrics, distillation, show, bar)
                    else:
                        training = OwnTraining(*rows, compute.device, kept, metrics, show, bar)
                    state = training.run()
            except UnfinishedError as end:
                end.folder = folder
                raise
            return compute.from_first(lambda: _finish(folder, key, state))


@contextmanager
def _logging(folder: Path, publish: Publish | None, processes: int) -> Iterator[MetricsLog]:
    """The training's metrics, published while it runs. Raises StepError when the folder is another process's or unwritable.

    Where `processes` train together, those of a group that broke up are given time to end.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / "lock", timeout=_ENDING_SECONDS if processes > 1 else 0))
            metrics = stack.enter_context(MetricsLog(folder / "metrics.jsonl"))
        except Timeout as error:
            raise StepError(f"Another process is training in {folder}: wait for it, or end it.") from error
        except OSError as error:
            raise StepError(f"Checkpoints cannot be kept in {folder}: {error.strerror or error}.") from error
        stack.enter_context(Publisher(metrics, publish))
        yield metrics


def _key(
    module: nn.Module,
    samples: Samples,
    validation: Samples,
    config: Train,
    workload: Workload,
    distillation: DistillationLoss | None,
    processes: int,
) -> str:
    """SHA-256 over what decides the outcome: initial weights, rows, knobs. What only decides where or how fast stays out."""
    digest = hashlib.sha256()
    unset = {name for name in _LATER_KNOBS if getattr(config, name) == Train.model_fields[name].default}
    knobs = config.model_dump(mode="json", exclude={"checkpoint_seconds", "threads", "workers", *unset})
    taught = None if distillation is None else [distillation.temperature, distillation.weight]
    goals = "+".join(goal.name for goal in workload.goals)
    digest.update(json.dumps([1, workload.name, goals, knobs, taught, processes]).encode())
    if workload.fit is not None:
        digest.update(b"a fit of its own")
    digest.update(named_order(workload))
    weights = [module.state_dict(), {} if distillation is None else distillation.teacher.state_dict()]
    for name, value in [pair for state in weights for pair in state.items()]:
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for split in (samples, validation):
        for name, array in split.named:
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return digest.hexdigest()


def _finish(folder: Path, key: str, state: TrainingState) -> Checkpoint:
    """Write the best weights to a file of their own, and then the record that says that training is done."""
    best = state.best
    assert best is not None
    # Interned, so that pickle's references between equal strings, and with them the bytes, do not depend on a resume.
    weights = {sys.intern(name): value for name, value in best.weights.items()}
    content = {**vars(best), "fingerprint": key, "weights": weights}
    record = Checkpoint(
        path=folder / "best.pt",
        sha256=save(folder / "best.pt", content),
        epoch=best.epoch,
        step=best.step,
        score=best.score,
        stopped=state.stopped,
        metrics=folder / "metrics.jsonl",
    )
    described = record.model_dump_json(indent=1).encode()
    try:
        write_atomically(folder / "checkpoint.json", described)
    except OSError as error:
        raise StepError(why_not_written("the checkpoint's record", folder, len(described), error)) from error
    return record


def _finished(folder: Path) -> Checkpoint | None:
    """What a training that ended here returned, if its weights are still what they were."""
    try:
        record = Checkpoint.model_validate_json((folder / "checkpoint.json").read_bytes())
    except (OSError, ValueError):
        return None
    here = record.model_copy(update={"path": folder / "best.pt", "metrics": folder / "metrics.jsonl"})
    if not digest_is_right(here.path) or sha256_of(here.path) != here.sha256:
        log.warning("%s is torn or altered: written again from the last checkpoint.", here.path)
        return None
    return here
