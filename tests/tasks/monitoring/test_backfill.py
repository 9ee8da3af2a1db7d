"""When a replay retrains, how long it says that it will take, and what it cannot replay."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_training import workload

from tasks.errors import UserError
from tasks.monitoring.backfill import Period, Replay, Span, days_of, seconds_left
from tasks.monitoring.chart import replayed
from tasks.monitoring.past import Past
from tasks.workloads.catalogue import load_workload

DAY = datetime.date(2026, 1, 31)


def days(every: str, until: datetime.date) -> list[str]:
    return [f"{day:%m-%d}" for day in days_of(DAY, until, every, until)]


def test_a_replay_retrains_on_each_day_and_the_last_period_ends_with_it() -> None:
    until = datetime.date(2026, 6, 15)
    assert days("month", until) == ["01-31", "02-28", "03-31", "04-30", "05-31", "06-15"]
    assert days("quarter", until) == ["01-31", "04-30", "06-15"]
    assert days("week", datetime.date(2026, 2, 14)) == ["01-31", "02-07", "02-14"]
    assert days("10d", datetime.date(2026, 2, 14)) == ["01-31", "02-10", "02-14"]
    assert days("year", until) == ["01-31", "06-15"]


@given(
    st.dates(datetime.date(2000, 1, 1), datetime.date(2030, 1, 1)),
    st.integers(1, 800),
    st.sampled_from(["day", "week", "month", "quarter", "year", "3d", "400d"]),
)
def test_periods_follow_each_other_without_a_gap(since: datetime.date, length: int, every: str) -> None:
    until = since + datetime.timedelta(days=length)
    made = days_of(since, until, every, until)
    assert made[0] == since and made[-1] == until
    assert all(before < after for before, after in zip(made, made[1:], strict=False))


@pytest.mark.parametrize("every", ["fortnight", "0d", "-3d", "1.5d", ""])
def test_a_span_that_is_none_is_said(every: str) -> None:
    with pytest.raises(UserError, match="is no span of time: write day, week, month, quarter, year, or days"):
        days_of(DAY, None, every, datetime.date(2026, 9, 1))


def test_no_time_between_is_said() -> None:
    with pytest.raises(UserError, match="--from 2026-01-31 is not before --to 2026-01-31"):
        days_of(DAY, DAY, "month", datetime.date(2026, 9, 1))


def test_retrainings_that_no_row_would_judge_are_said_and_not_replayed() -> None:
    end = datetime.date(2026, 3, 20)
    assert days_of(DAY, datetime.date(2026, 3, 31), "month", end)[-1] == datetime.date(2026, 3, 31)
    said = "--to 9999-12-31: all rows are from before 2026-03-20, and none would judge what is retrained on "
    for every, day in (("month", "2026-03-31"), ("year", "2027-01-31")):
        with pytest.raises(UserError, match=f"{said}{day}: name a day until then, or leave it out"):
            days_of(DAY, datetime.date.max, every, end)
    with pytest.raises(UserError, match="--from 2026-01-31: all rows are from before 2026-01-31, and none"):
        days_of(DAY, None, "month", DAY)


def test_a_workload_without_a_time_has_no_past() -> None:
    with pytest.raises(UserError, match="Workload digits names no time column, so that it has no past"):
        Past(load_workload("digits"))
    number = workload(
        time="at", load=lambda: __import__("pandas").DataFrame({"at": [1, 2, 3], "y": [0, 1, 0]})
    )
    object.__setattr__(number, "schema", __import__("pandera.pandas").pandas.DataFrameSchema({}))
    with pytest.raises(UserError, match="the time 'at' is no date"):
        Past(number)


spans = st.lists(st.tuples(st.integers(1, 10**6), st.floats(1, 10**4)), min_size=1, max_size=8)


@given(spans, st.lists(st.integers(1, 10**6), max_size=5))
def test_what_is_left_is_never_below_nothing_and_nothing_where_nothing_is_left(
    spent: list[tuple[int, float]], coming: list[int]
) -> None:
    left = seconds_left(spent, coming)
    assert left is not None and left >= -1e-6
    assert seconds_left(spent, []) == 0
    assert seconds_left([], coming) is None


@given(st.floats(0, 100), st.floats(0, 0.01), st.lists(st.integers(1000, 10**6), min_size=3, unique=True))
def test_what_is_left_is_right_where_time_grows_with_the_rows(
    fixed: float, each: float, rows: list[int]
) -> None:
    spent = [(count, fixed + each * count) for count in rows[:-1]]
    left = seconds_left(spent, rows[-1:])
    assert left is not None and np.isclose(left, fixed + each * rows[-1], rtol=1e-3, atol=1e-3)


def period(number: int, **fields: Any) -> Period:
    since = datetime.date(2026, number, 1)
    given = {
        "since": since, "until": since + datetime.timedelta(days=28), "trained": 100 * number, "rows": 100, "version": number,
        "decision": "promoted", "why": "it is better", "champion": number - 1 or None, "serving": number, "score": 0.7,
        "champion_score": 0.6, "serving_score": 0.7, "first_score": 0.5, "difference": None, "seconds": 1.0,
    }  # fmt: skip
    return Period.model_validate(given | fields)


def test_a_replay_to_an_earlier_day_leaves_what_was_done_to_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a period that ends otherwise is judged anew, and the longer replay finds all of its own again."""
    made: list[Span] = []

    def judged(self: Replay, since: datetime.date, until: datetime.date) -> Period:
        made.append((since, until))
        return period(since.month, until=until)

    monkeypatch.setattr(Replay, "_period", judged)

    def replayed_to(day: datetime.date) -> tuple[Replay, list[Span]]:
        made.clear()
        days = days_of(datetime.date(2026, 1, 1), day, "month", day)
        nothing: Any = None
        replay = Replay(nothing, nothing, days, nothing, tmp_path / "periods.json")
        assert len([*replay.periods()]) == len(made) and len(replay.done) == len(days) - 1
        return replay, made

    late, amid, early = datetime.date(2026, 5, 1), datetime.date(2026, 2, 15), datetime.date(2026, 2, 1)
    whole, anew = replayed_to(late)
    assert len(anew) == 4 and whole.later == 0
    shorter, anew = replayed_to(amid)
    assert anew == [(early, amid)] and shorter.later == 3
    for day, later in ((early, 4), (late, 0)):
        again, anew = replayed_to(day)
        assert anew == [] and again.later == later
    assert again.done == whole.done


def test_the_picture_has_each_decision_and_the_same_periods_give_the_same_bytes() -> None:
    periods = [
        period(1, champion_score=None),
        period(2, decision="refused", serving=1, score=None),
        period(3, decision="inconclusive", serving=None, serving_score=None, first_score=None),
    ]
    svg = replayed(periods, "AUC", "flights, retrained every month")
    assert svg == replayed(periods, "AUC", "flights, retrained every month")
    for words in ("retrained, promoted (1 of 3)", "retrained, refused (1 of 3)", "v1 stays", "2026-02-01"):
        assert f">{words}</text>" in svg
