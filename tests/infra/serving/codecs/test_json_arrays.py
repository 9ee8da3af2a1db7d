"""Arrays written as JSON: of many numbers piece by piece, and always what is written at once."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.serving.codecs import json_arrays
from infra.serving.codecs.json_arrays import written


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(1, 40), st.sampled_from("fdilB?"))
def test_a_large_array_is_written_as_a_small_one_is(shape: list[int], piece: int, kind: str) -> None:
    array = (np.arange(np.prod(shape)) * 0.37 % 5).reshape(shape).astype(kind)
    whole = orjson.dumps(array, None, orjson.OPT_SERIALIZE_NUMPY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "PIECE", piece)
        parts = written(array)
    assert b"".join(parts) == whole
    longest = np.prod(shape[-1:]) if len(shape) > 1 else piece
    assert max(part.count(b",") for part in parts) <= max(2 * piece, longest)
