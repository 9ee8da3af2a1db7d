"""Groups are in one split, cuts in time leave a gap, and what cannot be cut so is said."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import Data
from tasks.data.splits import LEFT_OUT, SPLITS, rows_in, split
from tasks.errors import UserError
from tasks.workloads.rows import Rows

HOUR = pd.Timedelta("1h")


def hourly(count: int, **columns: Any) -> pd.DataFrame:
    at = pd.Timestamp("2026-01-01") + np.arange(count) * HOUR
    return pd.DataFrame({"at": at, "x": np.arange(count), **columns})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=60, max_size=300), st.text(max_size=5), st.booleans())
def test_a_group_is_never_in_two_splits(groups: list[int], salt: str, words: bool) -> None:
    named = [f"q{group}" for group in groups] if words else groups
    parts = split(
        pd.DataFrame({"x": range(len(groups)), "query": named}), Data(salt=salt), Rows(group="query")
    )
    held = [set(parts[name]["query"]) for name in SPLITS]
    assert sum(map(len, held)) == len(set(groups)) and sum(map(len, parts.values())) == len(groups)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=20, max_size=60), st.integers(0, 12), st.randoms())
def test_groups_in_time_move_the_cuts_to_where_they_begin(sizes: list[int], gap: int, random: Any) -> None:
    weeks = np.repeat(np.arange(len(sizes)), sizes)
    frame = hourly(len(weeks), week=weeks)
    order = random.sample(range(len(frame)), len(frame))
    parts = split(frame.iloc[order], Data(), Rows(time="at", group="week", gap=f"{gap}h"))
    kept = [part for part in parts.values() if len(part)]
    for before, after in zip(kept, kept[1:], strict=False):
        assert before["week"].max() < after["week"].min()
        assert before["at"].max() < after["at"].min() - gap * HOUR or not gap
    assert len(frame) - sum(map(len, parts.values())) <= 2 * gap


def test_a_gap_is_a_number_where_the_time_is_one() -> None:
    frame = pd.DataFrame({"day": np.arange(100), "x": 0.0})
    parts = split(frame, Data(validation=0.25, test=0.25), Rows(time="day", gap=5))
    assert [(part["day"].min(), part["day"].max()) for part in parts.values()] == [
        (0, 44),
        (50, 69),
        (75, 99),
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            Rows(time="at", group="patient"),
            "Group 'p0' has rows before and after the cut of 2026-01-01 02:00:00: .*rows.time=None",
        ),
        (
            Rows(time="at", gap="a day or so"),
            r"rows.gap='a day or so' cannot be held .* write a duration, such as '120h'",
        ),
        (Rows(time="at", gap="-3h"), "rows.gap='-3h' cannot be held"),
        (Rows(time="at", gap=5), "rows.gap=5 cannot be held against the time 'at', which has dates"),
        (Rows(time="x", gap="5h"), "rows.gap='5h' cannot be held against the time 'x', which has numbers"),
    ],
)
def test_what_cannot_be_cut_is_said(rows: Rows, words: str) -> None:
    frame = hourly(100, patient=[f"p{number % 3}" for number in range(100)])
    with pytest.raises(UserError, match=words):
        split(frame, Data(), rows)


@given(st.lists(st.sampled_from([LEFT_OUT, 0, 1, 2]), min_size=1))
def test_rows_are_in_one_split_or_where_nothing_trains_choose_unless_they_judge(places: list[int]) -> None:
    numbers = np.array(places)
    trains, ships = rows_in(numbers, True), rows_in(numbers, False)
    assert (sum(chosen.astype(int) for chosen in trains.values()) == (numbers != LEFT_OUT)).all()
    assert (ships["train"] == ships["validation"]).all() and (ships["test"] == trains["test"]).all()
    assert (ships["validation"] == (trains["train"] | trains["validation"])).all()
