"""Which rows train, which choose and which judge."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Data
from tasks.data.fingerprint import row_hashes
from tasks.data.times import instants

SPLITS = ("train", "validation", "test")


def split(frame: pd.DataFrame, config: Data, time: str | None) -> dict[str, pd.DataFrame]:
    """Rows to train, validation and test: by a hash of each row's content, or in order of the `time` column.

    Hashed: a row stays in its split as data grows, and duplicates never straddle two. By time: the test rows are the
    newest, and rows of one instant stay together.
    """
    if time is None:
        numbers = split_by_hash(frame, config)
    else:
        _, places, counts = np.unique(instants(frame[time]), return_inverse=True, return_counts=True)
        numbers = np.digitize((counts.cumsum() - counts)[places] / len(frame), bounds(config))
    return {name: frame[numbers == number].reset_index(drop=True) for number, name in enumerate(SPLITS)}


def split_by_hash(frame: pd.DataFrame, config: Data) -> np.ndarray[Any, Any]:
    """Each row's split, 0 to 2, by its content alone."""
    return np.digitize(row_hashes(frame, config.salt) / 2.0**64, bounds(config))


def bounds(config: Data) -> tuple[float, float]:
    """The shares of the rows at which validation and test begin."""
    return 1 - config.validation - config.test, 1 - config.test
