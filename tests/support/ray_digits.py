"""The held digits for test_ray.py: a process of the cluster notes where it trains, and when it stands still."""

import dataclasses
import os
from pathlib import Path

import held_digits
from torch import Tensor

from tasks.config import Gates, Train


class Noted(held_digits.Held):
    """One byte a step in a file beside the hold, named by rank, node and process; `.held` beside that while it stands still."""

    def forward(self, image: Tensor) -> Tensor:
        hold = os.environ.get("SLIPWAY_TEST_HOLD")
        if self.training and hold:
            self._note(Path(hold))
        return super().forward(image)

    def _note(self, hold: Path) -> None:
        import ray

        name = f"{os.environ.get('RANK', '-')}.{ray.get_runtime_context().get_node_id()}.{os.getpid()}"
        with (hold.parent / name).open("ab") as file:
            file.write(b".")
        if self.seen + 1 >= held_digits.FORWARDS and hold.exists():
            (hold.parent / f"{name}.held").touch()


workload = dataclasses.replace(
    held_digits.workload,
    name="ray-digits",
    model=Noted,
    train=Train(epochs=3, lr=5e-3, checkpoint_seconds=0, threads=1),
    gates=Gates(
        min_score=0.5, max_score_drop=0.2
    ),  # three epochs leave much to chance, and where they run is what is tried
)
