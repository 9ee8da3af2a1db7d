"""Copies of rows are told from rows that are alike because few can be."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.data.arrays import Samples
from tasks.data.copies import copies
from tasks.data.dataset import prepare, read_split

Array = np.ndarray[Any, Any]


def samples_of(x: Array, target: Array) -> Samples:
    return Samples({"x": x, "more": x[:, :1]}, target)


def continuous(rows: int, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    return samples_of(random.normal(size=(rows, 3)).astype("float32"), random.integers(0, 2, rows))


def pictures(rows: int, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    return samples_of(random.integers(0, 16, (rows, 64)).astype("uint8"), random.integers(0, 9, rows))


def yes_or_no(rows: int, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    return samples_of(random.integers(0, 2, (rows, 3)), random.integers(0, 2, rows))


def many_yes_or_no(rows: int, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    return samples_of((random.random((rows, 12)) > 0.9).astype("int64"), random.integers(0, 2, rows))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([continuous, pictures]), st.integers(0, 99), st.integers(2, 300), st.floats(0.05, 3))
@example(pictures, 65, 199, 0.25)  # of which several are alike in any four of their numbers
def test_copies_are_found_wherever_they_lie(make: Any, seed: int, rows: int, share: float) -> None:
    random = np.random.default_rng(seed)
    origin = np.append(np.arange(rows), random.integers(0, rows, max(1, int(share * rows))))
    origin = random.permutation(origin)
    groups = copies(make(rows, seed)[origin])
    assert groups is not None
    same = groups[:, None] == groups[None, :]
    assert (same == (origin[:, None] == origin[None, :])).all()


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([continuous, pictures, yes_or_no, many_yes_or_no]),
    st.integers(0, 99),
    st.integers(1, 400),
)
def test_rows_that_are_alike_by_chance_are_none(make: Any, seed: int, rows: int) -> None:
    assert copies(make(rows, seed)) is None


@pytest.mark.parametrize("name", ["digits"])
def test_our_own_rows_have_none(name: str, tmp_path: Any) -> None:
    from tasks.config import Data

    dataset = prepare(name, Data(), tmp_path)
    assert copies(read_split(dataset, "test")) is None
