"""A batch's answers are cut out of one piece of JSON: each is what writing it alone would have given."""

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infra.serving.codecs.mlflow_scoring import predictions
from infra.serving.wire.headings import Headings
from infra.serving.wire.tensors import Outputs, Spec, Tensor

HEADINGS = Headings("m", "1", "d")
NAMES = st.text(st.sampled_from('[],"\\\n{}é a'), min_size=1, max_size=8)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def batches(draw: st.DrawFn) -> Outputs:
    count = draw(st.integers(1, 4))
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    tensors, arrays = [], []
    for name in names:
        tail = draw(SHAPES)
        size = count * int(np.prod(tail))
        numbers = draw(
            st.lists(st.sampled_from([0.5, -3.0, -1024.5, np.nan, np.inf]), min_size=size, max_size=size)
        )
        tensors.append(Tensor(name, np.dtype("float32"), (-1, *tail)))
        arrays.append(np.array(numbers, "float32").reshape((count, *tail)))
    return Outputs(Spec((), tuple(tensors)), arrays)


def plainly(value: Any) -> Any:
    """Nested lists of numbers as JSON has them: null for what is not finite."""
    if isinstance(value, list):
        return [plainly(item) for item in value]
    return value if np.isfinite(value) else None


@given(batches(), st.data())
def test_some_rows_of_a_batch_read_as_they_would_alone(outputs: Outputs, data: st.DataObject) -> None:
    count = len(outputs.arrays[0])
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    heading, body = predictions(HEADINGS, outputs, start, stop)
    assert heading is HEADINGS.json
    assert json.loads(body)["predictions"] == {
        tensor.name: plainly(array[start:stop].tolist())
        for tensor, array in zip(outputs.spec.outputs, outputs.arrays, strict=True)
    }
