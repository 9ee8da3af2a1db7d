"""When rows are from: whoever holds a time, rows sort as time does, and what is no time is refused and never ranked as text."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import Data
from tasks.data.splits import split
from tasks.data.times import instants, moments
from tasks.errors import UserError
from tasks.workloads.rows import Rows

Times = list[datetime.datetime]

BERLIN = "Europe/Berlin"

FORMS: dict[str, Callable[[Times], Any]] = {
    "datetimes": lambda times: times,
    "seconds": lambda times: pd.Series(times).astype("datetime64[s]"),
    "zoned": lambda times: pd.Series(times).dt.tz_localize("UTC").dt.tz_convert(BERLIN),
    "arrow": lambda times: pd.Series(times, dtype=pd.ArrowDtype(pyarrow.timestamp("us"))),
    "arrow zoned": lambda times: pd.Series(times, dtype=pd.ArrowDtype(pyarrow.timestamp("us", BERLIN))),
    "objects": lambda times: pd.Series(times, dtype=object),
    "ISO text": lambda times: [time.isoformat() for time in times],
    "ISO text in zones": lambda times: [
        time.replace(tzinfo=datetime.UTC)
        .astimezone(datetime.timezone(datetime.timedelta(hours=number % 5)))
        .isoformat()
        for number, time in enumerate(times)
    ],
    "arrow text": lambda times: pd.Series(
        [time.isoformat() for time in times], dtype=pd.ArrowDtype(pyarrow.string())
    ),
    "category": lambda times: pd.Categorical([time.isoformat() for time in times]),
    "seconds since": lambda times: [int(time.replace(tzinfo=datetime.UTC).timestamp()) for time in times],
    "floats since": lambda times: [time.replace(tzinfo=datetime.UTC).timestamp() for time in times],
    "decimals": lambda times: [Decimal(int(time.replace(tzinfo=datetime.UTC).timestamp())) for time in times],
    "nullable": lambda times: pd.array(
        [int(time.replace(tzinfo=datetime.UTC).timestamp()) for time in times], dtype="Int64"
    ),
    "periods": lambda times: pd.PeriodIndex(times, freq="s"),
    "durations": lambda times: pd.Series(times) - pd.Timestamp(2000, 1, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 1, 1)).map(
            lambda time: time.replace(microsecond=0)
        ),
        min_size=2,
        max_size=12,
    )
)
def test_rows_fall_where_their_times_do_however_these_are_written(form: str, times: Times) -> None:
    def parts(column: Any) -> dict[str, list[int]]:
        rows = pd.DataFrame({"when": column, "row": range(len(times))})
        return {name: part["row"].tolist() for name, part in split(rows, Data(), Rows(time="when")).items()}

    assert parts(FORMS[form](times)) == parts(pd.Series(times, dtype="datetime64[us]"))


@pytest.mark.parametrize("instant", [2.0**60, -(2.0**60), 0.0, 1e-300, 2**62])
def test_rows_of_one_instant_train_however_large_its_number(instant: float) -> None:
    parts = split(pd.DataFrame({"when": [instant] * 3}), Data(), Rows(time="when"))
    assert [len(part) for part in parts.values()] == [3, 0, 0]


def test_dates_are_times() -> None:
    days = [datetime.date(2025, 1, 10), datetime.date(2025, 1, 9)]
    for column in (pd.Series(days), pd.Series(days, dtype=pd.ArrowDtype(pyarrow.date32()))):
        assert instants(column).argsort().tolist() == [1, 0]
        assert moments(column).max() == pd.Timestamp(2025, 1, 10)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["3/1/2025", "12/1/2024"], "The time 'when' is text, such as '3/1/2025', which is not ISO 8601.*pd.to_datetime"),
        (["9", "10"], "such as '9'"),
        (["2025-01-01", "yesterday"], "such as 'yesterday'"),
        (["2025-01-01", "now"], "such as 'now'"),
        (["2025-01-01T00:00:00+01:00", "2025-01-01T00:00:00"], "has a zone in '2025-01-01T00:00:00.01:00' and none in"),
        ([datetime.datetime(2025, 1, 1), datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)], "with and without a zone"),
        ([datetime.time(1), datetime.time(2)], r"is object, such as datetime.time\(1, 0\), which is no time"),
        ([True, False], "is bool, such as "),
        ([[2025, 1], [2025, 2]], r"is object, such as \[2025, 1\], which is no time"),
        ([1, "2025-01-01"], "is object, such as 1, which is no time"),
        (pd.Categorical(["low", "high"], ["low", "high"], ordered=True), "such as 'low'"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_a_sentence_with_a_value_of_it(values: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        instants(pd.Series(values, name="when"))
    assert "\n" not in str(refused.value)


def test_empty_cells_stay_empty() -> None:
    for values in (["2025-01-01", None], [1.5, None], pd.array([1, None], dtype="Int64")):
        assert moments(pd.Series(values)).isna().tolist() == [False, True]
        assert (
            np.isnan(instants(pd.Series(values)))[1]
            if isinstance(values, list) and values[0] == 1.5
            else True
        )
