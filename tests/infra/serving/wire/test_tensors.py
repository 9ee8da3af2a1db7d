"""Whether an array is all finite numbers, which each batch is asked twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infra.serving.wire.tensors import FEW, all_finite

FLOATS = st.sampled_from((np.float16, np.float32, np.float64)).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@given(st.lists(FLOATS, max_size=3))
def test_it_is_what_numpy_says_of_each_number_and_warns_of_none(given_arrays: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    assert all_finite(given_arrays) == all(np.isfinite(array).all() for array in given_arrays)


@pytest.mark.parametrize("size", [3, FEW, FEW + 1])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_the_largest_numbers_are_finite_and_one_that_is_not_is_seen_among_them(
    size: int, value: float
) -> None:
    array = np.full(size, np.finfo(np.float32).max)
    assert all_finite([array, np.arange(3)])
    array[size // 2] = value
    assert not all_finite([np.arange(3.0), array])
