"""Dots of a noisier kind, with two models to choose among: a search over trainings of a tenth of a second."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from dots import Line, load
from dots import workload as dots

from tasks.config import Search, Train


def load_noisy() -> pd.DataFrame:
    rows = load()
    noise = np.random.default_rng(8).normal(size=len(rows)).astype("float32")
    return rows.assign(x=rows.x + 2 * noise)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, dot):  # type: ignore[no-untyped-def]
        return self.layers(dot)


workload = replace(
    dots,
    load=load_noisy,
    model={"small": Line, "wide": Wide},
    train=Train(epochs=4, patience=None, lr=0.01, batch_size=64, threads=1, checkpoint_seconds=0.0),
    search=Search(
        space={"train.lr": (1e-4, 1.0, "log"), "train.batch_size": (32, 64), "model": ("small", "wide")},
        trainings=9,
    ),
)
