"""Digits for test_ray.py: a process of the cluster notes where it trains, and stands still while SLIPWAY_TEST_HOLD is there."""

import dataclasses
import os
import time
from pathlib import Path

from torch import Tensor, nn

from tasks.config import Gates, Train
from tasks.workloads import digits

_FORWARDS = 30


class Held(nn.Module):
    """Stands still after some forward passes in training, but only where the cluster's variable is set."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self._seen = 0

    def forward(self, image: Tensor) -> Tensor:
        hold = os.environ.get("SLIPWAY_TEST_HOLD")
        if self.training and hold:
            self._note(Path(hold))
        logits: Tensor = self.layers(image / 16.0)
        return logits

    def _note(self, hold: Path) -> None:
        """One byte a step in a file named by rank, node and process; its name ends in `.held` while it stands still."""
        import ray

        self._seen += 1
        name = f"{os.environ.get('RANK', '-')}.{ray.get_runtime_context().get_node_id()}.{os.getpid()}"
        with (hold.parent / name).open("ab") as file:
            file.write(b".")
        if self._seen >= _FORWARDS and hold.exists():
            (hold.parent / f"{name}.held").touch()
            while hold.exists():
                time.sleep(0.05)


workload = dataclasses.replace(
    digits.workload,
    name="ray-digits",
    model=Held,
    train=Train(epochs=3, lr=5e-3, checkpoint_seconds=0, threads=1),
    gates=Gates(min_score=0.8),
)
