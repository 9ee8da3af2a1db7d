"""Rows that are copies of others: they say nothing new, so that what is counted in rows would be too sure of itself."""

import hashlib
from typing import Any

import numpy as np

from tasks.data.arrays import Samples

Array = np.ndarray[Any, Any]

_WIDEST, _TELLING, _OFTEN = 256, 6, 10
"""Numbers of a row that are looked at; those that tell rows apart best; how many times what chance makes."""


def copies(samples: Samples) -> Array | None:
    """A number for each row, [n], the same for rows whose inputs and target are the same; None where no row is a copy.

    Where a workload says which rows belong together, its groups are what comes and goes as one.
    Rows that are alike by chance, for there are few that can be, are no copies: a table of three yes-and-no columns has
    eight. Chance is held to be the collisions of the six numbers that tell rows apart best, by themselves and together.
    """
    if samples.group is not None:
        return samples.group
    _, first, groups = np.unique(_digests(samples), return_index=True, return_inverse=True)
    sizes = np.bincount(groups)
    pairs = float((sizes * (sizes - 1.0)).sum() / 2)
    if not pairs:
        return None
    rows, distinct = len(groups), samples[np.sort(first)]
    by_chance = rows * (rows - 1.0) / 2 * _chance(distinct)
    return groups if pairs > _OFTEN * by_chance else None


def _digests(samples: Samples) -> Array:
    """Each row's content in 64 bits."""
    arrays = [array for _, array in samples.named]
    digests = [
        hashlib.blake2b(b"".join(array[row].tobytes() for array in arrays), digest_size=8).digest()
        for row in range(len(samples))
    ]
    return np.frombuffer(b"".join(digests), "<u8")


def _chance(distinct: Samples) -> float:
    """How likely two rows are to be the same, as far as these different ones tell."""
    if len(distinct) < 2:
        return 1.0
    columns = [column for array in distinct.inputs.values() for column in _columns(array)]
    coded = [np.unique(column, return_inverse=True)[1] for column in columns]
    coded = sorted(coded, key=_collisions)[:_TELLING]
    together = np.unique(np.stack(coded, 1), axis=0, return_inverse=True)[1].ravel()
    return max(float(np.prod([_collisions(codes) for codes in coded])), _collisions(together))


def _columns(array: Array) -> Array:
    """Some of the numbers of each row, [at most 256, n]."""
    flat = array.reshape(len(array), -1)
    return np.asarray(flat[:, np.unique(np.linspace(0, flat.shape[1] - 1, _WIDEST, dtype=int))]).T


def _collisions(codes: Array) -> float:
    """How likely two of these are the same."""
    counts = np.bincount(codes)
    return float((counts * (counts - 1.0)).sum() / (len(codes) * (len(codes) - 1.0)))
