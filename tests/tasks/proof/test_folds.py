"""Folds: every row is predicted once, and no copy of it has been learned from."""

from pathlib import Path

import numpy as np
import pytest
from checkout import SUPPORT
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import Data, Gates, Train
from tasks.data.dataset import prepare
from tasks.proof.cross_validation import _folds, cross_validate
from tasks.records import Checkpoint


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=20, max_size=60), st.integers(2, 5), st.integers(0, 99))
def test_copies_of_a_row_are_in_one_fold(copied: list[int], count: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(copied))
    folds = _folds(order, count, np.array(copied))
    assert len(folds) == count and sorted(np.concatenate(folds)) == [*range(len(copied))]
    groups = [set(np.array(copied)[fold]) for fold in folds]
    assert sum(map(len, groups)) == len(set(copied))


@pytest.mark.slow
def test_each_fold_is_trained_by_the_workloads_own_loop(tmp_path: Path) -> None:
    reference = str(SUPPORT / "cases" / "own_fit.py")
    dataset = prepare(reference, Data(), tmp_path / "data")
    proved = cross_validate(reference, dataset, Train(epochs=1, lr=5e-3), Gates(folds=2), tmp_path / "folds")
    assert proved.rows == 4000 and len(proved.scores) == 2 and proved.score > 0.6
    ended = [
        Checkpoint.model_validate_json(path.read_text()) for path in tmp_path.glob("folds/*/checkpoint.json")
    ]
    assert [checkpoint.stopped for checkpoint in ended] == ["its own fit ended"] * 2
