"""Digits whose training stands still while the file that SLIPWAY_TEST_HOLD names is there: a machine can be lost meanwhile."""

import dataclasses
import os
import time
from pathlib import Path

from torch import Tensor, nn

from tasks.config import Gates, Train
from tasks.workloads.examples import digits

FORWARDS = 30


class Held(nn.Module):
    """Stands still after some forward passes in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.seen = 0

    def forward(self, image: Tensor) -> Tensor:
        self.hold()
        logits: Tensor = self.layers(image / 16.0)
        return logits

    def hold(self) -> None:
        if self.training:
            self.seen += 1
            hold = os.environ.get("SLIPWAY_TEST_HOLD")
            while self.seen >= FORWARDS and hold and Path(hold).exists():
                time.sleep(0.05)


workload = dataclasses.replace(
    digits.workload,
    name="held-digits",
    model=Held,
    train=Train(epochs=8, lr=2e-3, checkpoint_seconds=0, threads=1),
    gates=Gates(min_score=0.8),
)
