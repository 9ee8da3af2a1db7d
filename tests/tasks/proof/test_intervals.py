"""How sure a score and a difference of two are."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.config import Gates
from tasks.goals.bootstrap import difference, interval
from tasks.measured import Champion, Interval
from tasks.proof.intervals import compare, score_slices, slices
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import marks
from tasks.workloads.workload import Workload

Array = np.ndarray[Any, Any]


DIGITS = load_workload("digits")


def score_interval(
    workload: Workload, target: Array, outputs: Array, level: float, groups: Array | None = None
) -> Interval | None:
    return interval(marks(workload, target, outputs)[0], level, groups)


def difference_interval(
    workload: Workload, target: Array, ours: Array, theirs: Array, level: float, groups: Array | None = None
) -> Interval | None:
    mine, other = (marks(workload, target, outputs)[0] for outputs in (ours, theirs))
    return difference(mine, other, level, groups)


def logits(target: Array, right: Array) -> Array:
    return np.eye(10, dtype="float32")[np.where(right, target, (target + 1) % 10)]


@pytest.mark.slow
def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """500 rows at 0.9: of 100 intervals at 95%, all but a few hold 0.9."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        target = rng.integers(0, 10, 500)
        interval = score_interval(DIGITS, target, logits(target, rng.random(500) < 0.9), 0.95)
        held += interval is not None and interval.low <= 0.9 <= interval.high
    assert 89 <= held <= 99


def test_few_rows_that_all_agree_still_leave_doubt() -> None:
    """Without the two added rows the interval would have no width, and 40 rows would prove equality."""
    target = np.arange(40) % 10
    interval = difference_interval(
        DIGITS, target, logits(target, target >= 0), logits(target, target >= 0), 0.95
    )
    assert interval is not None and interval.low < -0.02 and interval.high > 0.02


def test_a_regression_is_compared_by_r2_in_pairs() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=300).astype("float32")
    good, bad = target + rng.normal(size=300) / 4, target + rng.normal(size=300)
    regression = Workload(
        name="toy", kind="regression", load=lambda: None, schema=lambda: None, target="y", inputs=lambda f: {}, model=lambda: None
    )  # type: ignore[arg-type, return-value]  # fmt: skip
    interval = difference_interval(regression, target, bad[:, None], good[:, None], 0.95)
    assert interval is not None and interval.high < 0


def test_slices_are_scored_and_compared_where_rows_are_enough() -> None:
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(10), 60)
    frame = pd.DataFrame({"label": target})
    ours = logits(target, (target != 3) | (rng.random(600) < 0.5))
    theirs = logits(target, rng.random(600) < 0.98)
    scores = {
        group.value: group.score for group in score_slices(DIGITS, marks(DIGITS, target, ours)[0], frame)
    }
    assert scores["3"] == pytest.approx(0.5, abs=0.15) and scores["4"] == 1.0
    against = compare(
        DIGITS,
        target,
        frame,
        ours,
        theirs,
        Champion(version=3, sha256="c", folder="."),
        Gates(min_slice_rows=50),
    )
    worst = min(against.slices, key=lambda group: group.difference)
    assert worst.value == "3" and worst.interval.high < 0 and worst.interval.level == pytest.approx(0.995)
    assert (
        compare(
            DIGITS, target, frame, ours, theirs, Champion(version=3, sha256="c", folder="."), Gates()
        ).slices
        == ()
    )


@pytest.mark.parametrize("dtype", ["Int64", "int64[pyarrow]", "float64", "category"])
def test_a_slice_has_the_rows_that_are_of_it_also_where_cells_are_empty(dtype: str) -> None:
    frame = pd.DataFrame({"label": pd.Series([1, 2, None, 1], dtype="Int64").astype(dtype)})
    masks = {value: mask.tolist() for _, value, mask in slices(DIGITS, frame)}
    assert {value.removesuffix(".0"): mask for value, mask in masks.items()} == {
        "1": [True, False, False, True],
        "2": [False, True, False, False],
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_copies_of_rows_make_no_interval_narrower(kind: Any) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 10, 200)
    if kind == "classification":
        workload, ours, theirs = (
            DIGITS,
            logits(target, rng.random(200) < 0.9),
            logits(target, rng.random(200) < 0.8),
        )
    else:
        workload = Workload(
            name="toy", kind=kind, load=lambda: None, schema=lambda: None, target="y", inputs=lambda f: {}, model=lambda: None
        )  # type: ignore[arg-type, return-value]  # fmt: skip
        target = target.astype("float32")
        ours, theirs = ((target + rng.normal(size=200) * far)[:, None] for far in (1, 2))
    copied = rng.permutation(np.repeat(np.arange(200), 10))

    def widths(groups: Array | None, rows: Array) -> list[float]:
        both = (
            score_interval(workload, target[rows], ours[rows], 0.95, groups),
            difference_interval(workload, target[rows], ours[rows], theirs[rows], 0.95, groups),
        )
        return [interval.high - interval.low for interval in both if interval is not None]

    plain, grouped, fooled = widths(None, np.arange(200)), widths(copied, copied), widths(None, copied)
    assert len(plain) == len(grouped) == 2
    for alone, together, narrow in zip(plain, grouped, fooled, strict=True):
        assert together == pytest.approx(alone, rel=0.25) and narrow < 0.5 * together


def test_groups_of_one_row_are_rows() -> None:
    target = np.random.default_rng(0).integers(0, 10, 200)
    answers = logits(target, np.random.default_rng(1).random(200) < 0.9)
    rows, groups = (score_interval(DIGITS, target, answers, 0.95, given) for given in (None, np.arange(200)))
    assert rows is not None and groups is not None
    assert (groups.low, groups.high) == pytest.approx((rows.low, rows.high), abs=0.015)
