"""Large bodies: read from their text as small ones are from lists, at a cost that is linear, and refused before they grow."""

import json
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.serving.codecs import limits, number_text, strict_json
from infra.serving.codecs.json_arrays import exact
from infra.serving.codecs.mlflow_scoring import Invocations
from infra.serving.codecs.number_text import NumberText, cut_out, parsed
from infra.serving.codecs.open_inference import Inference
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Spec, Tensor, assemble

DIGITS = Spec((Tensor("x", np.dtype("float32"), (-1, 64)),), ())
TOKENS = Spec((Tensor("x", np.dtype("int64"), (-1, -1)),), ())
FLAGS = Spec((Tensor("x", np.dtype("bool"), (-1, 8)),), ())
LARGE = Spec((Tensor("x", np.dtype("uint64"), (-1, 8)),), ())
SIZE = 16 * 1024 * 1024
PEAK = 14 * SIZE
"""orjson asks for twelve bytes a byte of text, of which it touches what it uses."""


def within(text: bytes) -> bytes:
    return b'{"inputs":{"x":[%b]}}' % text


def filled(unit: bytes) -> bytes:
    return within(unit * ((SIZE - 100) // len(unit)) + unit.rstrip(b","))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty lists": lambda: filled(b"[],"),
    "empty objects": lambda: filled(b"{},"),
    "short strings": lambda: filled(b'"a",'),
    "small integers": lambda: filled(b"1,"),
    "objects of one name": lambda: filled(b'{"":0},'),
    "one long string among short ones": lambda: within(
        b'"' + b"a" * 1_000_000 + b'",' + b'"b",' * 4000 + b'"c"'
    ),
    "brackets that only open": lambda: b"[" * SIZE,
    "braces that only open": lambda: b"{" * SIZE,
    "deep lists": lambda: within(b"[" * 8_000_000 + b"]" * 8_000_000),
    "quotes": lambda: b'"' * SIZE,
    "escaped quotes": lambda: b'{"a":"' + b'\\"' * (SIZE // 2 - 10) + b'"}',
    "backslashes": lambda: b'{"a":"' + b"\\" * (SIZE - 10),
    "many names": lambda: b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b',"k1":1}',
    "a name many times": lambda: b"{" + b'"k":1,' * 150_000 + b'"k":1}',
    "one long number": lambda: within(b"[1" + b"1" * (SIZE - 100) + b"]"),
    "blanks": lambda: within(b"[" + b" " * (SIZE - 100) + b"]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("spec", [DIGITS, TOKENS], ids=["a fixed row", "a row of any length"])
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_refused_in_little_memory(spec: Spec, body: Callable[[], bytes]) -> None:
    reader, text = Invocations(spec, 4096), body()
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as refused:
            reader.read(text)
        assert refused.value.status in (400, 422) and len(refused.value.message) < 300
        assert tracemalloc.get_traced_memory()[1] < PEAK
    finally:
        tracemalloc.stop()


MOST_CALLS = 6_000
"""Of functions, in a millisecond."""

UNITS = (
    b"[],",
    b"{},",
    b"[[[[1]]]],",
    b"[1],",
    b'{"a":"\\""},',
    b'"a",',
    b'{"":0},',
    b"1,",
    b"1.25,",
    b"true,",
)


def calls(work: Callable[..., object], *words: object) -> int:
    """How many functions are called, C's too: what time comes to, and no machine is slow at."""
    seen = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        with suppress(Problem):
            work(*words)
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("spec", [DIGITS, TOKENS], ids=["a fixed row", "a row of any length"])
@pytest.mark.parametrize("unit", UNITS)
def test_what_an_event_loop_reads_is_little_and_what_others_read_grows_no_faster_than_the_body(
    spec: Spec, unit: bytes
) -> None:
    invocations, inference = Invocations(spec, 4096), Inference(spec, 4096, "m")

    def within(size: int, front: bytes, end: bytes) -> bytes:
        return front + unit * (size // len(unit)) + end

    for front, end in (
        (b'{"inputs":{"x":[', b"0]}}"),
        (b'{"dataframe_records":[', b"0]}"),
        (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[', b"0]}]}"),
    ):
        for size in (1_000, 4_000, 15_000, 64_000):
            body = within(size, front, end)
            assert calls(invocations.at_once, body) < MOST_CALLS
            assert calls(inference.at_once, body, None) < MOST_CALLS
        few, many = within(20_000, front, end), within(80_000, front, end)
        assert calls(invocations.carefully, many) < 6 * calls(invocations.carefully, few)
        assert calls(inference.carefully, many, None) < 6 * calls(inference.carefully, few, None)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_small_body_with_one_long_text_takes_no_room_for_each_of_its_cells(name: str) -> None:
    text = b'"' + b"a" * 30_000 + b'",' + b'"b",' * 8000 + b'"c"'
    body = b'{"dataframe_records":[{"x":[%b]}]}' % text if name == "a" else within(text)
    tracemalloc.start()
    try:
        with pytest.raises(Problem, match="numbers only"):
            Invocations(DIGITS, 64).read(body)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("nested", [b"[" * 1000 + b"]" * 1000, b'{"a":' * 900 + b"1" + b"}" * 900])
def test_deep_nesting_is_refused_wherever_it_stands(nested: bytes) -> None:
    places = (
        b"%b",
        b'{"inputs":%b}',
        b'{"inputs":[1,%b]}',
        b'{"id":%b,"inputs":[]}',
        b'{"inputs":[],"parameters":%b}',
    )
    for place in places:
        for read in (Invocations(DIGITS, 64).read, lambda body: Inference(DIGITS, 64, "m").read(body, None)):
            with pytest.raises(Problem) as refused:
                read(place % nested)
            assert refused.value.status in (400, 422)


def came_to(spec: Spec, body: bytes) -> Any:
    """The arrays that the model would get, or that there are none."""
    try:
        rows = Invocations(spec, 64).read(body)
    except Problem as problem:
        assert problem.status in (400, 422)
        return None
    feeds = assemble(spec, [rows])
    return rows.length, [(name, array.dtype, array.shape, array.tobytes()) for name, array in feeds.items()]


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
SPECS = {
    "vector": Spec((Tensor("x", np.dtype("float32"), (-1, 3)),), ()),
    "image": Spec((Tensor("x", np.dtype("float64"), (-1, 2, 2)),), ()),
    "thin": Spec((Tensor("x", np.dtype("float32"), (-1, 1, 1)),), ()),
    "numbers": Spec((Tensor("x", np.dtype("int64"), (-1,)),), ()),
    "narrow": Spec((Tensor("x", np.dtype("int8"), (-1, -1)),), ()),
    "wide": Spec((Tensor("x", np.dtype("uint64"), (-1, 2)),), ()),
    "flags": Spec((Tensor("x", np.dtype("bool"), (-1, 2)),), ()),
    "two": Spec((Tensor("x", np.dtype("float32"), (-1, 2)), Tensor("y", np.dtype("int64"), (-1,))), ()),
}


@st.composite
def bodies(draw: st.DrawFn, spec: Spec) -> bytes:
    """A body that is right, or nearly."""
    count, values = draw(st.integers(1, 4)), {}
    for tensor in spec.inputs:
        shape = (count, *[2 if size < 0 else size for size in tensor.tail])
        kind = {"d": st.floats(-9, 9), "i": st.integers(0, 99), "?": st.booleans()}[tensor.wire]
        size = int(np.prod(shape))
        items = draw(st.lists(kind, min_size=size, max_size=size))
        if draw(st.integers(0, 3)) == 0:
            items[draw(st.integers(0, size - 1))] = draw(NUMBERS)
        array = np.empty(size, object)
        array[:] = items
        values[tensor.name] = array.reshape(shape).tolist()
    text = json.dumps({"inputs": values}, indent=draw(st.sampled_from([None, 1])))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(text) - 1))
        text = (
            text[:at]
            + draw(st.sampled_from(["[", "]", ",", " ", "1", "-", "e", '"', "[]", "],[", ""]))
            + text[at + 1 :]
        )
    return text.encode()


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arrays_read_from_text_are_those_read_from_lists(
    spec: Spec, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, piece = data.draw(bodies(spec)), data.draw(st.integers(2, 40))
    with monkeypatch.context() as small:
        from_lists = came_to(spec, body)
        small.setattr(strict_json, "LARGE", 0)
        small.setattr(number_text, "LEAST", 0)
        small.setattr(number_text, "PIECE", piece)
        assert came_to(spec, body) == from_lists


@pytest.mark.parametrize(
    ("spec", "row"),
    [
        (DIGITS, b"0.5," * 63 + b"-1e-3"),
        (FLAGS, b"true," * 7 + b"false"),
        (LARGE, b"1," * 7 + b"18446744073709551615"),
    ],
)
def test_a_large_body_is_read_whole_in_each_form(spec: Spec, row: bytes) -> None:
    rows = b",".join([b"[%b]" % row] * 3000)
    split = b'{"dataframe_split":{"columns":["x"],"index":[%b],"data":[%b]}}' % (
        b",".join(b"%d" % at for at in range(3000)),
        b",".join([b"[[%b]]" % row] * 3000),
    )
    records = b'{"dataframe_records":[%b]}' % b",".join([b'{"x":[%b]}' % row] * 3000)
    feeds = [
        assemble(spec, [Invocations(spec, 4096).read(body)])["x"]
        for body in (within(rows), b'{"instances":[%b]}' % rows, split, records)
    ]
    assert all(np.array_equal(feeds[0], feed) and feed.shape[0] == 3000 for feed in feeds)
    tensor = spec.inputs[0]
    shape = json.dumps([3000, tensor.tail[0]]).encode()
    head = b'{"inputs":[{"name":"x","datatype":"%b","shape":%b,"data":' % (tensor.datatype.encode(), shape)
    for data in (b"[%b]" % rows, b"[%b]" % b",".join([row] * 3000)):
        got, _ = Inference(spec, 4096, "m").read(head + data + b"}]}", None)
        assert np.array_equal(assemble(spec, [got])["x"], feeds[0])


def test_strings_may_hold_anything_beside_a_long_array() -> None:
    array, numbers = b"[" + b"1," * 5000 + b"2]", [1] * 5000 + [2]
    for name in (rb"\"", rb"\\", rb"]},[{", rb"\\\"x\\", "é[".encode(), b""):
        text, arrays = cut_out(b'{"%b":{"b" :\n %b },"c":[%b,"%b"]}' % (name, array, array, name))
        document = parsed(text)
        (outer,) = set(document) - {"c"}
        (cut,) = arrays.values()
        assert cut.lists() == numbers and arrays[document[outer]["b"]] is cut
        assert document["c"][0] == numbers


@pytest.mark.parametrize("start", [b"[ ", b"[\n", b"["])
def test_a_dense_text_that_begins_spaciously_is_read(start: bytes) -> None:
    assert len(parsed(start + b"7," * 32_000 + b"7]")) == 32_001


def test_a_shape_is_that_of_the_lists_or_ragged() -> None:
    for text, shape in ((b"[[1,2],[3,4],[5,6]]", (3, 2)), (b"[[[1]],[[2]]]", (2, 1, 1)), (b" [ 1 ] ", (1,))):
        assert NumberText(text, 0, len(text)).shape("x") == shape
    for text in (b"[[1,2],[3]]", b"[[1],2]", b"[1],[2]", b"[[1]", b"[1]]", b"[[1],[[2]]]", b"[1,[2]]"):
        with pytest.raises(Problem, match="ragged"):
            NumberText(text, 0, len(text)).shape("x")


def test_what_may_come_for_a_model_follows_from_its_rows() -> None:
    bound = limits.limits_of(DIGITS, 100)
    assert 6400 < bound.values < 6400 + 2 * limits.SLACK
    assert limits.limits_of(TOKENS, 100).values == limits.MOST_VALUES


def test_a_text_that_is_no_list_is_no_array() -> None:
    for value in ("a", {}, None, 1, []):
        with pytest.raises(Problem, match="at least one row"):
            exact(DIGITS.inputs[0], value)
