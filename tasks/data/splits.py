from typing import TYPE_CHECKING

from tasks.config import Data
from tasks.data.fingerprint import row_hashes

if TYPE_CHECKING:
    import pandas as pd


def split(frame: "pd.DataFrame", config: Data, time: str | None) -> "dict[str, pd.DataFrame]":
    """Rows to train, validation and test: by a hash of each row's content, or in order of the `time` column.

    Hashed: a row stays in its split as data grows, and duplicates never straddle two. By time: the test rows are the
    newest, and rows of one instant stay together.
    """
    import numpy as np

    if time is None:
        position = row_hashes(frame, config.salt) / 2.0**64
        bounds = (1 - config.validation - config.test, 1 - config.test)
    else:
        position = (frame[time].rank(method="min").to_numpy() - 1) / len(frame)
        bounds = (1 - config.validation - config.test, 1 - config.test)
    which = np.digitize(position, bounds)
    return {name: frame[which == index].reset_index(drop=True) for index, name in enumerate(SPLITS)}


SPLITS = ("train", "validation", "test")
