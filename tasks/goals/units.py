"""Rows that come and go together, such as a query's: what is drawn for an interval, and what a batch does not cut."""

import numpy as np

from tasks.goals.metric import Array


class Units:
    """Rows by what they belong to, of a number for each row, [n]."""

    def __init__(self, numbers: Array) -> None:
        places = np.unique(numbers, return_inverse=True)[1]
        self._order = np.argsort(places, kind="stable")
        self.sizes = np.bincount(places)
        self._starts = self.sizes.cumsum() - self.sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def rows(self, units: Array) -> Array:
        """The numbers of all rows of these units, in their order."""
        sizes = self.sizes[units]
        before = np.repeat(self._starts[units] - (sizes.cumsum() - sizes), sizes)
        taken: Array = self._order[before + np.arange(sizes.sum())]
        return taken
