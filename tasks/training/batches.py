"""Which rows make up each step, and those rows as tensors."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.data.arrays import Array, Samples
from tasks.workloads.workload import Workload

_SHARE = 0.25
"""Of a GPU's free memory that rows may take."""


@dataclass
class Batch:
    """Rows of one step: inputs and targets by name, and each row's weight, float32[n].

    A goal's targets go by the name of its first output.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    weight: Tensor

    def __len__(self) -> int:
        return len(self.weight)


class Order:
    """The rows of each step: every row once an epoch, shuffled anew each time.

    A function of seed and step alone: a resumed training asks for its next step and nothing of this has to be saved. A
    last batch of a single row joins the one before, because batch normalisation cannot learn from one row.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        whole, rest = divmod(rows, batch_size)
        self.steps_an_epoch = whole + (rest > 1 or whole == 0)
        self._batch_size = batch_size
        self._shuffled = lru_cache(1)(lambda epoch: np.random.default_rng((seed, epoch)).permutation(rows))

    def rows(self, step: int) -> Array:
        """The row numbers of a step (from 0, counted over all epochs), int64[batch]."""
        epoch, position = divmod(step, self.steps_an_epoch)
        start = position * self._batch_size
        last = position == self.steps_an_epoch - 1
        return self._shuffled(epoch)[start : None if last else start + self._batch_size]


def resident(samples: Samples, device: torch.device) -> Samples:
    """The samples on the GPU, where they take little of its free memory: a step's rows are then picked there and not sent."""
    if device.type != "cuda":
        return samples
    size = sum(array.nbytes for _, array in samples.named)
    if size > _SHARE * torch.cuda.mem_get_info(device)[0]:
        return samples

    def moved(array: Array) -> Any:
        return torch.from_numpy(np.array(array)).to(device)

    inputs = {name: moved(array) for name, array in samples.inputs.items()}
    others = tuple(map(moved, samples.others))
    weight = None if samples.weight is None else moved(samples.weight)
    return replace(samples, inputs=inputs, target=moved(samples.target), others=others, weight=weight)


def take(workload: Workload, samples: Samples, index: Array, device: torch.device) -> Batch:
    """These rows as tensors, read from the mapped arrays and moved to the device."""

    def tensor(array: Array | Tensor) -> Tensor:
        if isinstance(array, Tensor):
            return array[torch.from_numpy(index).to(device, non_blocking=True)]
        return torch.from_numpy(np.asarray(array)[index]).to(device, non_blocking=True)

    inputs = {name: tensor(array) for name, array in samples.inputs.items()}
    targets = {
        goal.outputs[0]: tensor(array) for goal, array in zip(workload.goals, samples.targets, strict=True)
    }
    weight = torch.ones(len(index), device=device) if samples.weight is None else tensor(samples.weight)
    return Batch(inputs, targets, weight)
