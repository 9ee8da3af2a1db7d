"""A training that takes a tenth of a second: three clouds of points, stopped where a test wants it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.records import Checkpoint
from tasks.training.metrics import read_metrics
from tasks.training.progress import Progress
from tasks.training.trainer import fit
from tasks.workloads.workload import Workload

FAST = Train(epochs=3, lr=0.01, batch_size=64, threads=1, patience=None)


class Net(nn.Module):
    """Three clouds of points are easy; dropout makes the random state matter."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x)
        return result


def workload(kind: str | None = "classification", **fields: Any) -> Workload:
    given = {
        "load": lambda: None,
        "schema": lambda: None,
        "inputs": lambda frame: {},
        "model": Net,
        "target": "y",
    }
    return Workload(name="toy", kind=kind, **{**given, **fields})  # type: ignore[arg-type]


def clouds(count: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 4)) + 2.0 * np.eye(4)[target]
    return Samples({"x": x.astype("float32")}, target)


def train_toy(
    folder: Path,
    config: Train = FAST,
    *,
    rows: Samples | None = None,
    kind: Workload | None = None,
    **options: Any,
) -> Checkpoint:
    torch.manual_seed(config.seed)
    module = options.pop("module", None) or Net()
    toy = kind or workload()
    return fit(module, rows or clouds(200), clouds(100, 1), config, folder, workload=toy, **options)


class Killed(BaseException):
    """What the operating system does, as far as the code after it is concerned: nothing of it runs in the loop."""


def killed_at(step: int) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        if progress.step >= step:
            raise Killed

    return show


def computed(checkpoint: Checkpoint) -> list[tuple[str, int, float]]:
    metrics = read_metrics(checkpoint.metrics)
    measured = ("system/", "train/rows_per_second")
    return sorted((m.key, m.step, m.value) for m in metrics if not m.key.startswith(measured))


EVERY_STEP = Train(epochs=9, lr=0.05, batch_size=50, threads=1, patience=2, checkpoint_seconds=0)
