"""What a workload's own `step` and `fit` are given: types for its annotations, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.config import Train

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

    Step = Callable[[nn.Module, "Batch"], Tensor]
    Fit = Callable[[nn.Module, "Training"], None]


class Batch(Protocol):
    """Rows of one step: inputs by the names of `forward`, targets by the name of the output, each row's weight, float32[n]."""

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    weight: Tensor

    def __len__(self) -> int: ...


class Training(Protocol):
    """What an own `fit` has to work with. Whoever uses `resume` and `save` can be killed at any moment."""

    config: Train
    """`Workload.train`, as `--set` changed it."""
    device: torch.device
    """Where the module is, and where batches come."""
    folder: Path
    """For files of one's own, kept between tries on this machine; what another one needs goes through `save`."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The training rows of an epoch (from 0), from its batch `start` on.

        Their order is a function of seed and epoch alone, and so is where random numbers start, but for `start` above 0.
        """
        ...

    def loader(self, **options: Any) -> DataLoader[Any]:
        """The same as a DataLoader with a generator of its own, on the CPU; `options` are DataLoader's, such as num_workers.

        An iteration is the next epoch, from the one after the last that was saved, or the one that its sampler's set_epoch said.
        """
        ...

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The workload's loss of what `forward` returned. Raises StepError, with the likely cause, when it is not finite."""
        ...

    def resume(self) -> Any | None:
        """What was saved last, or None; random numbers and the best offer so far are put back too."""
        ...

    def save(self, state: Any, *, epoch: int) -> None:
        """Keep tensors, numbers and strings in lists and dicts, or a file or folder by its Path, after `epoch` (from 0).

        When this returns it is on the disk, whole, with its digest, and the one before it too. Raises UserError for a state
        that could not be read again.
        """
        ...

    def offer(self, module: nn.Module, *, epoch: int) -> float:
        """The module's score on the validation rows after `epoch` (from 0); the weights with the best one are what ships.

        Raises UserError for a module with other weights than the workload's, StepError for weights that are not finite.
        """
        ...

    def log(self, step: int, **numbers: float) -> None:
        """Numbers of a step for the curves in MLflow; of each name, steps only grow."""
        ...
