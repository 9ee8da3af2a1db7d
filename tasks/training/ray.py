"""One training on a Ray cluster: Ray Train starts the processes, and each runs the same loop on its share of every batch."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import ray
from ray.train import RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer

from tasks.config import Train
from tasks.errors import UserError
from tasks.records import Checkpoint
from tasks.training.progress import Progress, ShowProgress

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


def train_on_cluster(
    train: Callable[..., Checkpoint], config: Train, folder: Path, progress: ShowProgress | None
) -> Checkpoint:
    """What the first of `config.workers` processes returns, each of which calls `train(progress=...)`.

    All nodes have to see `folder` and the data. A node that is lost ends this with Ray's TrainingFailedError: called again,
    as the step's retry does, the processes go on from the last checkpoint, wherever there is room for them.
    Raises UserError when this process is connected to no cluster, and what `train` raises for a user.
    """
    if not ray.is_initialized():
        raise UserError(
            f"train.workers={config.workers} needs a Ray cluster: set SLIPWAY_TASK_RUNNER=ray, or train.workers=1."
        )
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a relative path stays relative to a node's folder
    with _shown(folder / "progress.json", progress) as show, _signals_as_they_were():
        run: Any = partial(train, progress=show)
        trainer = TorchTrainer(
            run,
            scaling_config=_scaling(config),
            run_config=RunConfig(name="ray", storage_path=str(folder)),
        )
        try:
            result: Any = trainer.fit()
            return cast(Checkpoint, result.return_value)
        except WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if isinstance(failure, UserError):
                    raise failure from None
            raise


def _scaling(config: Train) -> ScalingConfig:
    """A GPU each where that is asked for or there are enough, else so many CPUs as torch may use, on as many nodes as there are."""
    there = ray.cluster_resources()
    gpu = config.device == "cuda" or (config.device == "auto" and there.get("GPU", 0) >= config.workers)
    each = {"CPU": config.threads or 1, **({"GPU": 1} if gpu else {})}
    for name, count in each.items():
        if there.get(name, 0) < count * config.workers:
            log.warning(
                "training waits until the cluster has %d %s: it has %d",
                count * config.workers, name, there.get(name, 0),
            )  # fmt: skip
    return ScalingConfig(
        num_workers=config.workers,
        use_gpu=gpu,
        resources_per_worker=each,
        placement_strategy="PACK" if gpu else "SPREAD",
    )


@contextmanager
def _shown(path: Path, progress: ShowProgress | None) -> Iterator[ShowProgress | None]:
    """Where the first process says how far it is, for `progress` here: what that is bound to cannot leave this process."""
    if progress is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(path, progress, done), daemon=True)
    follower.start()
    try:
        yield partial(_note, path)
    finally:
        done.set()
        follower.join()


def _note(path: Path, progress: Progress) -> None:
    with suppress(OSError):  # nobody trains in order to be watched
        new = path.with_suffix(".new")
        new.write_text(progress.model_dump_json())
        new.replace(path)


def _follow(path: Path, progress: ShowProgress, done: threading.Event) -> None:
    ended = False
    while not ended:
        ended = done.wait(_LOOK_SECONDS)
        with suppress(OSError, ValueError):
            progress(Progress.model_validate_json(path.read_bytes()))


@contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Ray Train takes Ctrl-C to end a training in order, and keeps it."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
