from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.fingerprint import fingerprint, row_hashes

FRAME = pd.DataFrame(
    {
        "number": [1.5, -0.0, 3.0],
        "count": [1, 2, 3],
        "text": ["a", "bc", "ü"],
        "flag": [True, False, True],
        "when": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]),
        "kind": pd.Categorical(["x", "y", "x"]),
        "maybe": pd.array([1, None, 3], dtype="Int64"),
    }
)


def test_it_is_the_same_on_every_machine() -> None:
    assert fingerprint(FRAME) == "a85371d5a05b6cb821cbddd71cef1e903a1f1e0effa513ac4ed997d6dbba2989"
    assert row_hashes(FRAME).tolist() == [8662245738225409013, 10129074649688567099, 9200464786015983571]


@pytest.mark.parametrize("column", FRAME.columns)
@pytest.mark.parametrize("row", range(3))
def test_any_changed_cell_changes_it(column: str, row: int) -> None:
    frame = FRAME.copy()
    frame.loc[row, column] = next(
        v for v in frame[column].dropna() if pd.isna(frame[column][row]) or v != frame[column][row]
    )
    assert frame[column].dtype == FRAME[column].dtype
    assert fingerprint(frame) != fingerprint(FRAME)
    assert row_hashes(frame)[row] != row_hashes(FRAME)[row]
    assert (np.delete(row_hashes(frame), row) == np.delete(row_hashes(FRAME), row)).all()


def test_names_dtypes_and_order_count() -> None:
    seen = {
        fingerprint(FRAME),
        fingerprint(FRAME.rename(columns={"count": "n"})),
        fingerprint(FRAME.astype({"count": "int32"})),
        fingerprint(FRAME[::-1]),
        fingerprint(FRAME[[*FRAME.columns[::-1]]]),
        fingerprint(FRAME.head(2)),
    }
    assert len(seen) == 6


def test_a_missing_cell_is_neither_zero_nor_empty_text() -> None:
    numbers = [fingerprint(pd.DataFrame({"x": [1.0, value]})) for value in (0.0, np.nan)]
    texts = [fingerprint(pd.DataFrame({"x": pd.Series(["a", value], dtype="str")})) for value in ("", None)]
    assert len({*numbers, *texts}) == 4


def test_no_cell_of_an_array_a_list_or_bytes_is_overlooked() -> None:
    seen = set()
    for changed in (0, 1):
        picture = np.zeros(3000)
        picture[1500] = changed  # numpy's own text of it leaves out the middle
        for cell in (picture, [picture], {"a": picture}, bytes([200]) * 3000 + bytes([changed])):
            frame = pd.DataFrame({"x": [cell, None]})
            seen.add((fingerprint(frame), *row_hashes(frame).tolist()[:1]))
    assert len(seen) == 8


def test_a_date_far_away_is_one_of_its_own_and_moves_no_other_row() -> None:
    near, far = (
        pd.DataFrame({"x": pd.to_datetime(["2026-01-01", end])}) for end in ("2026-01-02", "9999-12-31")
    )
    assert fingerprint(near) != fingerprint(far)
    assert row_hashes(near)[0] == row_hashes(far)[0] and row_hashes(near)[1] != row_hashes(far)[1]


def test_text_cannot_move_from_one_cell_to_the_next() -> None:
    first, second = pd.DataFrame({"x": ["ab", "c"]}), pd.DataFrame({"x": ["a", "bc"]})
    assert fingerprint(first) != fingerprint(second)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(8)), st.permutations(["a", "b", "c"]))
def test_a_rows_hash_does_not_depend_on_its_place_or_the_order_of_columns(
    rows: list[int], columns: list[str]
) -> None:
    frame = pd.DataFrame({"a": range(8), "b": list("stuvwxyz"), "c": np.linspace(0, 1, 8)})
    shuffled = frame.iloc[rows][columns]
    np.testing.assert_array_equal(row_hashes(shuffled), row_hashes(frame)[rows])


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_same_cells_count_the_same_whoever_holds_them(
    backend: Literal["numpy_nullable", "pyarrow"], gaps: bool, tmp_path: Path
) -> None:
    frame = FRAME.drop(columns="kind").assign(
        zoned=FRAME["when"].dt.tz_localize("Europe/Berlin"), day=FRAME["when"].dt.date, maybe=[1.5, 2.5, 3.5]
    )
    if gaps:
        frame = frame[["number", "text", "when", "zoned", "day"]]
        frame.loc[1, :] = None
    frame.to_parquet(tmp_path / "rows.parquet")
    held = pd.read_parquet(tmp_path / "rows.parquet", dtype_backend=backend)
    assert (held.dtypes != frame.dtypes).any()
    assert fingerprint(held) == fingerprint(frame)
    np.testing.assert_array_equal(row_hashes(held), row_hashes(frame))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1.0, 0.0], dtype=pd.SparseDtype("float64")),
        pd.Series([True, None], dtype=pd.ArrowDtype(pyarrow.bool_())),
        pd.Series([1, None], dtype=pd.ArrowDtype(pyarrow.uint8())),
        pd.Series([Decimal("1.5"), None], dtype=pd.ArrowDtype(pyarrow.decimal128(5, 2))),
        pd.Series([[1, 2], None], dtype=pd.ArrowDtype(pyarrow.list_(pyarrow.int64()))),
        pd.Series([{"a": 1}, None], dtype=pd.ArrowDtype(pyarrow.struct([("a", pyarrow.int64())]))),
        pd.Series([b"1", None], dtype=pd.ArrowDtype(pyarrow.binary())),
        pd.Series([timedelta(1), None], dtype=pd.ArrowDtype(pyarrow.duration("us"))),
        pd.Series([time(1), None], dtype=pd.ArrowDtype(pyarrow.time64("us"))),
        pd.Series([1.0, None], dtype=pd.ArrowDtype(pyarrow.float16())),
        pd.Series(pd.arrays.ArrowExtensionArray(pyarrow.array(["b", None]).dictionary_encode())),
        pd.Series(pd.period_range("2020-01", periods=2, freq="M")),
        pd.Series(pd.interval_range(0, 2)),
    ],
    ids=lambda column: str(column.dtype),
)  # fmt: skip
def test_every_type_of_column_has_one(column: "pd.Series[Any]") -> None:
    frame = pd.DataFrame({"x": column})
    assert fingerprint(frame) != fingerprint(frame[::-1])
    assert len(set(row_hashes(frame).tolist())) == 2
