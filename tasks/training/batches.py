"""Which rows make up each step, and those rows as tensors."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.data.arrays import Array, Samples
from tasks.goals.units import Units
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

    def share(self, rows: Array, rank: int, count: int) -> Array:
        """Those of a step's rows that one of `count` processes learns from."""
        return rows[rank::count]

    def parts(self, rows: Array, count: int) -> list[Array]:
        """A process's rows in at most `count` batches."""
        return np.array_split(rows, count) if count > 1 else [rows]


class OrderOfUnits(Order):
    """Steps that hold whole units, such as queries, and about as many rows each: what a loss compares is never torn.

    `numbers`, [rows], says by equal numbers which rows hang together. The units are shuffled, then cut; where some have a
    single row, a step has two units at least.
    """

    def __init__(self, numbers: Array, batch_size: int, seed: int) -> None:
        self._numbers, units = numbers, Units(numbers)
        least = 1 if units.sizes.min() > 1 else 2
        self.steps_an_epoch = max(1, min(round(len(numbers) / batch_size), len(units) // least))

        def shuffled(epoch: int) -> list[Array]:
            order = np.random.default_rng((seed, epoch)).permutation(len(units))
            cuts = _cuts(units.sizes[order], self.steps_an_epoch, least)
            return [units.rows(part) for part in np.split(order, cuts)]

        self._steps = lru_cache(1)(shuffled)

    def rows(self, step: int) -> Array:
        epoch, position = divmod(step, self.steps_an_epoch)
        return self._steps(epoch)[position]

    def share(self, rows: Array, rank: int, count: int) -> Array:
        return np.concatenate([rows[:0], *self._whole(rows)[rank::count]])

    def parts(self, rows: Array, count: int) -> list[Array]:
        whole = self._whole(rows)
        cuts = _cuts(np.array([len(unit) for unit in whole]), min(count, len(whole)), 1)
        ends = np.cumsum([len(unit) for unit in whole])[cuts - 1]
        return np.split(rows, ends)

    def _whole(self, rows: Array) -> list[Array]:
        return np.split(rows, np.flatnonzero(np.diff(self._numbers[rows])) + 1)


def _cuts(sizes: Array, parts: int, least: int) -> Array:
    """Between which units to cut, so that each part has about as many rows, and `least` units or more."""
    middles, needed = sizes.cumsum() - sizes / 2, least * np.arange(1, parts)
    cuts = np.searchsorted(middles, sizes.sum() * np.arange(1, parts) / parts)
    cuts = np.maximum.accumulate(np.maximum(cuts - needed, 0)) + needed
    within: Array = np.minimum(cuts, len(sizes) - needed[::-1])
    return within


def order_of(workload: Workload, samples: Samples, batch_size: int, seed: int) -> Order:
    """The order that the goals need: the first whose rows hang together says which do."""
    for goal, target in zip(workload.goals, samples.targets, strict=True):
        if goal.metric.units is not None:
            return OrderOfUnits(goal.metric.units(np.asarray(target)), batch_size, seed)
    return Order(len(samples), batch_size, seed)


def named_order(workload: Workload) -> bytes:
    """What the order is in a training's key; of single rows, as it always was, nothing."""
    return b"whole units" if any(goal.metric.units is not None for goal in workload.goals) else b""


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
