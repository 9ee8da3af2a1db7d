"""How a warmed-up model is batched, on a clock that moves only when rows are run."""

from collections.abc import Callable

import pytest

from infra.serving.models.pace import Pace, measure


def measured(cost: Callable[[int], float], batch: int | None = None) -> Pace:
    """The pace of a model that takes `cost(rows)` seconds."""
    now = 0.0

    def run(rows: int) -> None:
        nonlocal now
        now += cost(rows)

    return measure(run, batch, lambda: now)


def test_rows_that_cost_microseconds_share_large_batches_on_the_loop() -> None:
    pace = measured(lambda rows: 10e-6 + rows * 1e-6)
    assert pace.inline and pace.batch == 1024
    assert pace.single == pytest.approx(11e-6) and pace.row < 1.2e-6


def test_rows_of_a_tenth_of_a_millisecond_run_64_at_once() -> None:
    pace = measured(lambda rows: 50e-6 + rows * 50e-6)
    assert pace.inline and pace.batch == 64


def test_a_slow_model_that_gains_nothing_runs_rows_alone() -> None:
    pace = measured(lambda rows: rows * 20e-3)
    assert not pace.inline
    assert pace.batch == 1 and pace.row == pytest.approx(20e-3)


def test_a_slow_model_gets_the_smallest_batch_that_makes_its_rows_cheap() -> None:
    """As the 10.6M transformer: rows are cheapest in batches of 8, and dearer again in larger ones."""
    by_size = {1: 15e-3, 2: 15e-3, 4: 12.6e-3, 8: 12.0e-3, 16: 12.0e-3, 32: 14e-3}
    assert measured(lambda rows: rows * by_size[rows]).batch == 8


def test_a_slow_model_that_still_gains_when_the_time_is_up_may_use_64() -> None:
    assert measured(lambda rows: 0.3 + rows * 1e-3).batch == 64
    assert measured(lambda rows: 0.1 + rows * 1e-3).batch == 64


def test_what_the_first_run_of_a_size_takes_longer_is_not_its_pace() -> None:
    """As OpenVINO, which makes its kernels for each size when it first sees it."""
    seen = set[int]()

    def seconds(rows: int) -> float:
        first = rows not in seen
        seen.add(rows)
        return rows * (1.1e-3 if rows < 16 else 0.7e-3) + first * 40e-3 * (rows >= 16)

    assert measured(seconds).batch >= 16


def test_what_the_user_says_is_kept() -> None:
    assert measured(lambda rows: rows * 20e-3, batch=5).batch == 5
    assert measured(lambda rows: rows * 1e-6, batch=5).batch == 5


def test_warming_up_takes_a_second_at_most() -> None:
    for cost in (1e-6, 1e-4, 1e-3, 1e-2, 0.1):
        spent = 0.0

        def seconds(rows: int, cost: float = cost) -> float:
            nonlocal spent
            spent += rows * cost
            return rows * cost

        measured(seconds)
        assert spent < 1.0, cost
