"""What a data scientist has, as a model's inputs, and its outputs as a frame."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from infra.client.tables import columns_of, frame_of, joined, listed, pieces
from tasks.errors import UserError


@pytest.mark.slow
@given(
    array=arrays("float32", array_shapes(min_dims=1, max_dims=3), elements=st.floats(-9, 9, width=32)),
    most=st.integers(1, 5),
)
def test_every_way_to_say_the_same_rows_gives_the_same_columns(array: Any, most: int) -> None:
    cells = list(array)
    others = ["left behind"] * len(cells)
    ways = [
        {"x": array},
        {"x": array.tolist(), "label": others},
        pd.DataFrame({"x": pd.Series(cells, dtype=object), "label": others}),
        [{"x": cell, "label": "left behind"} for cell in cells],
        array,
    ]
    for rows in ways:
        (column,) = columns_of("m", rows, ["x"]).values()
        np.testing.assert_array_equal(column.astype("float32"), array)
        parts = [{"x": np.asarray(listed({"x": column}, part)["x"])} for part in pieces(len(column), most)]
        np.testing.assert_array_equal(joined(parts, ["x"])["x"], column)


def test_a_frame_among_the_columns_is_one_input_and_pictures_are_base64() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [3.5, 4.0], "plan": ["basic", "plus"], "photo": [b"\xff\xd8", b""]}
    )
    given = {"numbers": frame[["a", "b"]], "plan": frame["plan"], "photo": frame["photo"]}
    columns = columns_of("m", given, ["numbers", "plan", "photo"])
    assert columns["numbers"].tolist() == [[1.0, 3.5], [2.0, 4.0]]
    assert columns["plan"].tolist() == ["basic", "plus"] and columns["photo"].tolist() == ["/9g=", ""]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pd.DataFrame({"y": [1.0]}), "m takes x, plan, and there is no column x, plan: there is y."),
        ({"x": [1.0]}, "there is no column plan: there is x."),
        ([{"x": 1.0}, {"plan": "a"}], "there is no column x, plan: there is none."),
        ([1.0], "and a list names none of them"),
        ({"x": [1.0, float("nan")], "plan": ["a", "b"]}, "Column 'x' has no finite number in row 1"),
        ({"x": [1.0, 2.0], "plan": ["a", None]}, "Column 'plan' holds values that are not all text"),
        ({"x": [[1.0], [1.0, 2.0]], "plan": ["a", "b"]}, "Column 'x' has rows of different shapes"),
        ({"x": pd.to_datetime(["2026-01-01"]), "plan": ["a"]}, "Column 'x' holds datetime64"),
        ({"x": 1.0, "plan": ["a"]}, "Column 'x' is the one value 1.0"),
        ({"x": [1.0], "plan": ["a", "b"]}, "different numbers of rows (x: 1, plan: 2)"),
    ],
)
def test_rows_that_do_not_fit_are_a_sentence(rows: Any, said: str) -> None:
    with pytest.raises(UserError) as raised:
        columns_of("m", rows, ["x", "plan"])
    sentence = str(raised.value)
    assert said in sentence and "\n" not in sentence and sentence.endswith(".")


def test_answers_have_the_index_of_what_was_asked_and_one_value_a_cell_where_there_is_one() -> None:
    asked = pd.DataFrame({"x": [1.0, 2.0]}, index=["ada", "bob"])
    outputs = {
        "label": np.array(["cat", "dog"], object),
        "sure": np.eye(2),
        "price": np.array([[3.0], [4.0]]),
    }
    frame = frame_of(outputs, asked, {"model": "m"})
    assert frame.loc["bob", "label"] == "dog" and frame.loc["bob", "price"] == 4.0
    assert frame.loc["ada", "sure"].tolist() == [1.0, 0.0] and frame.attrs == {"model": "m"}
    assert columns_of("m", {"x": np.zeros((0, 64))}, ["x"])["x"].shape == (0, 64)
    assert frame_of({"label": np.zeros(0)}, asked[:0], {}).shape == (0, 1)
