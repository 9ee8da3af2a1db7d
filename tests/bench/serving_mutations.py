"""Requests that are nearly right: for the suite, which tries few, and for the benchmark, which tries many."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serving_models as models
from hypothesis import strategies as st

TOKENS = {"tokens": [[1, 2, 3], [4, 5, 6]], "features": [[0.5, 0, 0, 1], [1, 2, 3, 4]]}
TENSORS = [
    {"name": "tokens", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]},
    {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4.5]},
]
VALID: list[tuple[str, Any]] = [
    ("/models/words/invocations", {"inputs": TOKENS}),
    ("/models/words/invocations", {"instances": [{"tokens": [1, 2], "features": [1, 2, 3, 4]}]}),
    ("/v2/models/words/infer", {"inputs": TENSORS, "outputs": [{"name": "sum"}]}),
    ("/models/digits/invocations", {"inputs": [[0.5] * 64]}),
    ("/models/digits/invocations", {"dataframe_split": {"columns": ["x"], "data": [[[0.5] * 64]]}}),
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
NUMBERS: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(0, 60) | st.integers(-(2**70), 2**70),
    float: st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(),
}
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def targets(root: Path) -> list[str]:
    """The models that the requests are for, as arguments of the server."""
    return [
        f"words={models.save(root / 'words', models.two_inputs(), TOKENS)}",
        f"digits={models.save(root / 'digits', models.mlp(), {'x': [[0.5] * 64]})}",
    ]


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*at, key))


def parent(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid request with numbers changed, or one place in its tree replaced or repeated; then perhaps some of its bytes.

    What only has other numbers mostly gets as far as the model, what has another tree as far as the reader.
    """
    path, body = draw(st.sampled_from(VALID))
    body = json.loads(json.dumps(body))
    every = [each for each in paths(body) if each]
    if draw(st.booleans()):
        numbers = [each for each in every if isinstance(parent(body, each)[each[-1]], int | float)]
        for each in draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=3)):
            kind = type(parent(body, each)[each[-1]])
            parent(body, each)[each[-1]] = draw(NUMBERS[kind])
    else:
        at = draw(st.sampled_from(every))
        place, last = parent(body, at), at[-1]
        place[last] = [place[last]] * draw(st.integers(2, 3)) if draw(st.booleans()) else draw(ANYTHING)
    text = bytearray(json.dumps(body).encode())
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 3)))):
        at = draw(st.integers(0, len(text) - 1))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return path, bytes(text)
