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
from tasks.training.loop import Loop
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


def run(folder: Path, dropout: float) -> Checkpoint:
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
    return fit(Net(dropout), rows, rows, CONFIG, folder, workload=workload)


def run_stopped(folder: Path) -> Checkpoint:
    """Stop both processes at the seventh step, as a lost machine would, and run again."""
    report = Loop._report

    def stop(loop: Loop, always: bool = False) -> None:
        if loop.standing.step == 7:
            raise KeyboardInterrupt

    Loop._report = stop  # type: ignore[method-assign]
    try:
        run(folder, dropout=0.2)
    except KeyboardInterrupt:
        Loop._report = report  # type: ignore[method-assign]
        return run(folder, dropout=0.2)
    raise AssertionError("it was not stopped")


def note_group(path: Path) -> None:
    path.write_text("still there" if torch.distributed.is_initialized() else "left")


if __name__ == "__main__":
    home = Path(sys.argv[1])
    atexit.register(note_group, home / f"group-{os.environ['RANK']}")  # runs after what training registers
    checkpoints = {
        "known": run(home / "known", dropout=0.0),
        "whole": run(home / "whole", dropout=0.2),
        "resumed": run_stopped(home / "resumed"),
    }
    for name, checkpoint in checkpoints.items():
        (home / f"{name}-{torch.distributed.get_rank()}.json").write_text(checkpoint.model_dump_json())
