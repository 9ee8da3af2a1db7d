"""Which rows train, which choose and which judge."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Data
from tasks.data.fingerprint import row_hashes
from tasks.data.times import instants

Array = np.ndarray[Any, Any]

SPLITS = ("train", "validation", "test")


def split(
    frame: pd.DataFrame, config: Data, time: str | None, trains: bool = True
) -> dict[str, pd.DataFrame]:
    """Rows to train, validation and test: by a hash of each row's content, or in order of the `time` column.

    Where nothing `trains`, all rows but the test rows choose, and what is fitted to rows (ranges of 8-bit numbers) is to them.
    Hashed: a row stays in its split as data grows, and duplicates never straddle two. By time: the test rows are the
    newest, and rows of one instant stay together.
    """
    if time is None:
        numbers = split_by_hash(frame, config)
    else:
        _, places, counts = np.unique(instants(frame[time]), return_inverse=True, return_counts=True)
        numbers = np.digitize((counts.cumsum() - counts)[places] / len(frame), bounds(config))
    return {name: frame[rows].reset_index(drop=True) for name, rows in rows_of(numbers, trains).items()}


def rows_of(numbers: Array, trains: bool) -> dict[str, Array]:
    """Which rows are in each split, bool[n], by the number of each row's."""
    rows = {name: numbers == number for number, name in enumerate(SPLITS)}
    return rows if trains else rows | dict.fromkeys(SPLITS[:2], numbers < 2)


def split_by_hash(frame: pd.DataFrame, config: Data) -> Array:
    """Each row's split, 0 to 2, by its content alone."""
    return np.digitize(row_hashes(frame, config.salt) / 2.0**64, bounds(config))


def bounds(config: Data) -> tuple[float, float]:
    """The shares of the rows at which validation and test begin."""
    return 1 - config.validation - config.test, 1 - config.test
