"""Folds: every row is predicted once, and no copy of it has been learned from."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.proof.cross_validation import _folds


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=20, max_size=60), st.integers(2, 5), st.integers(0, 99))
def test_copies_of_a_row_are_in_one_fold(copied: list[int], count: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(copied))
    folds = _folds(order, count, np.array(copied))
    assert len(folds) == count and sorted(np.concatenate(folds)) == [*range(len(copied))]
    groups = [set(np.array(copied)[fold]) for fold in folds]
    assert sum(map(len, groups)) == len(set(copied))
