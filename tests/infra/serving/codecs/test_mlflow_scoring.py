"""Bodies read by their outline as by a reader that has seen nothing before; answers that are what JSON says of the rows."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.serving.codecs.mlflow_scoring import Invocations, predictions, predictions_each
from infra.serving.wire.headings import Headings
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Outputs, RequestRows, Spec, Tensor, assemble

SPECS = {
    "vector": Spec((Tensor("x", np.dtype("float32"), (-1, 4)),), ()),
    "image": Spec((Tensor("x", np.dtype("float32"), (-1, 2, 2)),), ()),
    "thin": Spec((Tensor("x", np.dtype("float64"), (-1, 1, 3)),), ()),
    "numbers": Spec((Tensor("x", np.dtype("int64"), (-1,)),), ()),
    "sequence": Spec((Tensor("x", np.dtype("int64"), (-1, -1)),), ()),
    "bracketed": Spec((Tensor("x[0]", np.dtype("float32"), (-1, 2)),), ()),
    "two": Spec((Tensor("x1", np.dtype("int64"), (-1,)), Tensor("x2", np.dtype("int64"), (-1,))), ()),
}
PIECES = [
    *'[]{},:"',
    "],[",
    "]]",
    "[[",
    "[]",
    '],"x":[',
    ',"y":1',
    '"y":1,',
    '"x1"',
    '"x2"',
    "1",
    "2.5",
    "1e999",
]
PIECES += ["-3e2", "0-", "18446744073709551615", "true", "null", "NaN", '"x"', "{}", " ", ""]
TOKEN = re.compile(r'"[^"]*"|[^\s\[\]{},:]+|.')


def body_of(spec: Spec, rows: int, draw: st.DataObject, named: bool) -> bytes:
    """A body that is right, of numbers that are drawn."""
    values: dict[str, Any] = {}
    for tensor in spec.inputs:
        shape = (rows, *[3 if size < 0 else size for size in tensor.tail])
        numbers = draw.draw(
            st.lists(st.integers(-99, 99), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
        )
        values[tensor.name] = np.array(numbers, "int64").reshape(shape).tolist()
    inputs = values if named or len(values) > 1 else next(iter(values.values()))
    return json.dumps(
        {"inputs": inputs}, separators=draw.draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    ).encode()


def came_to(reader: Invocations, body: bytes) -> Any:
    """The arrays that the model would get, or the refusal."""
    try:
        rows: RequestRows = reader.read(body)
    except Problem as problem:
        return problem.status, problem.body
    feeds = assemble(reader.spec, [rows])
    return rows.length, [(name, array.dtype, array.shape, array.tobytes()) for name, array in feeds.items()]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_reader_that_has_seen_bodies_reads_changed_ones_as_a_new_one_does(
    spec: Spec, data: st.DataObject
) -> None:
    reader = Invocations(spec, 64)
    named = data.draw(st.booleans())
    for rows in data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)):
        seen = body_of(spec, rows, data, named)
        reader.read(seen)
        assert came_to(reader, seen) == came_to(Invocations(spec, 64), seen)
    tokens = TOKEN.findall(seen.decode())
    places = st.integers(0, len(tokens) - 1)
    for place in data.draw(st.lists(places, max_size=3)):
        other = data.draw(st.one_of(st.sampled_from(PIECES), places.map(tokens.__getitem__)))
        tokens[place] = other + data.draw(st.sampled_from(["", tokens[place]]))
    changed = "".join(tokens).encode()
    assert came_to(reader, changed) == came_to(Invocations(spec, 64), changed)


@pytest.mark.parametrize(
    ("spec", "seen", "changed"),
    [
        ("vector", '{"inputs":{"x":[[1,2,3,4]]}}', '{"inputs":{"x":[[1,2],[3,4]]}}'),
        ("vector", '{"inputs":{"x":[[1,2,3,4]]}}', '{"inputs":{"x":[[1,2,3]]}}'),
        ("vector", '{"inputs":{"x":[[1,2,3,4]]}}', '{"inputs":{"x":[[1,2,3,"]]}}"]]}}'),
        ("vector", '{"inputs":{"x":[[1,2,3,4]]}}', '{"inputs":{"x":[[1,2,3,4]]},"y":1}'),
        ("vector", '{"inputs":{"x":[[1,2,3,4]]}}', '{"inputs":{"x":[[1,2,3,4]],"x":[[1,2,3,4]]}}'),
        ("vector", '{"inputs": {"x": [[1,2,3,4]]}}', '{"inputs":{"x":[1,[2,3,4]]}}'),
        ("image", '{"inputs":[[[1,2],[3,4]]]}', '{"inputs":[[[1],[2,3,4]]]}'),
        ("numbers", '{"inputs":[1]}', '{"inputs":[1,2]}'),
        ("two", '{"inputs":{"x1":[1],"x2":[2]}}', '{"inputs":{"x2":[1],"x1":[2]}}'),
    ],
)
def test_what_only_looks_like_a_body_seen_before_is_read_for_what_it_is(
    spec: str, seen: str, changed: str
) -> None:
    reader = Invocations(SPECS[spec], 64)
    reader.read(seen.encode())
    assert came_to(reader, changed.encode()) == came_to(Invocations(SPECS[spec], 64), changed.encode())


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


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.sampled_from("efdilB?O"),
    st.integers(1, 2),
    st.data(),
)
def test_answers_written_together_are_those_written_row_by_row(
    shape: list[int], kind: str, count: int, data: st.DataObject
) -> None:
    """Rows of any form, numbers that have an exponent or not, text that looks like the brackets between rows."""
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    numbers = (random.normal(size=shape) * 10.0 ** random.integers(-9, 5, shape)).astype(
        kind.replace("O", "f")
    )
    array = np.full(shape, "],[", object) if kind == "O" else numbers
    outputs = Outputs(
        Spec((), tuple(Tensor(f"y[{at}]", array.dtype, tuple(shape)) for at in range(count))), [array] * count
    )
    headings = Headings("m", "1", "d")
    together = predictions_each(outputs)
    if together is None:
        assert array.size == 0 or kind == "O" or count == 2
    else:
        assert together == [predictions(headings, outputs, at, at + 1)[1] for at in range(shape[0])]
