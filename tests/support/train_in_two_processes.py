"""Run by test_train_together.py under torchrun: a whole training, one stopped and resumed, and one whose result is known."""

import atexit
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.records import Checkpoint
from tasks.training.trainer import fit
from tasks.workloads.workload import Workload

CONFIG = Train(epochs=2, lr=0.05, batch_size=50, threads=1, checkpoint_seconds=0, patience=None)


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x)
        return result


class Stopping(Net):
    """Is stopped at its eighth step, as a lost machine would be."""

    steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        if self.steps == 8:
            raise KeyboardInterrupt
        return super().forward(x)


def run(folder: Path, dropout: float, build: type[Net] = Net) -> Checkpoint:
    """203 rows: the last batch has three, which two processes share unevenly."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 203)
    x = rng.normal(size=(203, 4)) + 2.0 * np.eye(4)[target]
    rows = Samples({"x": x.astype("float32")}, target)
    workload = Workload(
        name="toy",
        kind="classification",
        target="y",
        load=lambda: None,  # type: ignore[arg-type, return-value]
        schema=lambda: None,  # type: ignore[arg-type, return-value]
        inputs=lambda frame: {},
        model=lambda: Net(dropout),
    )
    torch.manual_seed(0)
    return fit(build(dropout), rows, rows, CONFIG, folder, workload=workload)


def run_stopped(folder: Path) -> Checkpoint:
    """Stop both processes in the middle, and run again."""
    try:
        run(folder, dropout=0.2, build=Stopping)
    except KeyboardInterrupt:
        return run(folder, dropout=0.2)
    raise AssertionError("it was not stopped")


def note_threads(path: Path) -> None:
    """Those of gloo, by Linux's names, which have 15 letters."""
    names = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
    path.write_text(" ".join(name for name in names if "gloo" in name))


if __name__ == "__main__":
    home = Path(sys.argv[1])
    atexit.register(
        note_threads, home / f"threads-{os.environ['RANK']}"
    )  # runs after what training registers
    checkpoints = {
        "known": run(home / "known", dropout=0.0),
        "whole": run(home / "whole", dropout=0.2),
        "resumed": run_stopped(home / "resumed"),
    }
    for name, checkpoint in checkpoints.items():
        (home / f"{name}-{torch.distributed.get_rank()}.json").write_text(checkpoint.model_dump_json())
