"""Drift by itself: what is chance, what is much, and columns that break naive statistics."""

import numpy as np
import pytest

from tasks.monitoring.drift import drift

Columns = dict[str, np.ndarray]  # type: ignore[type-arg]
LIMITS = {"psi": 0.25, "p_value": 0.01}


@pytest.fixture
def reference() -> Columns:
    rng = np.random.default_rng(0)
    return {
        **{f"x[{place}]": rng.normal(size=2000) for place in range(10)},
        "mostly zero": np.where(rng.random(2000) < 0.9, 0.0, rng.normal(size=2000)),
        "always one": np.ones(2000),
        "kind": rng.integers(0, 5, 2000),
        "town": rng.choice(np.array(["Bergen", "Oslo"]), 2000),
        "gaps": np.where(rng.random(2000) < 0.1, np.nan, rng.normal(size=2000)),
    }


def resampled(columns: Columns, rows: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    return {name: rng.choice(column, rows) for name, column in columns.items()}


@pytest.mark.slow
def test_rows_of_the_same_world_do_not_drift(reference: Columns) -> None:
    alarms = [
        column.name
        for seed in range(20)
        for column in drift(reference, resampled(reference, 250, seed), **LIMITS).drifted
    ]
    assert alarms == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x[3]", lambda column: column + 1),
        ("mostly zero", lambda column: np.abs(column) + 0.5),
        ("always one", lambda column: column * 2),
        ("kind", lambda column: np.full_like(column, 9)),
        ("town", lambda column: np.full(len(column), "Paris")),
        ("gaps", lambda column: np.where(np.arange(len(column)) % 2, np.nan, column)),
        ("gaps", lambda column: np.full(len(column), np.nan)),
    ],
)
def test_the_column_that_changed_is_the_one_that_is_named(reference: Columns, name: str, change) -> None:  # type: ignore[no-untyped-def]
    served = resampled(reference, 250, 1)
    served[name] = change(served[name])
    drifts = drift(reference, served, **LIMITS)
    assert [column.name for column in drifts.drifted] == [name] == [drifts.columns[0].name]
    assert drifts.share == 1 / 15


def test_a_difference_that_is_certain_and_small_is_no_drift(reference: Columns) -> None:
    many = np.random.default_rng(2).normal(0.1, 1, 100_000)
    drifts = drift({"x": reference["x[0]"]}, {"x": many}, **LIMITS)
    assert drifts.drifted == () and drifts.columns[0].p_value < 0.01


def test_columns_that_were_not_served_are_left_out(reference: Columns) -> None:
    assert drift(reference, {}, **LIMITS).columns == () and drift(reference, {}, **LIMITS).share == 0
