"""When labels say that a champion is worse than its proof, and when they only seem to."""

import numpy as np
import pytest

from tasks.monitoring.monitor import _verdict
from tasks.monitoring.performance import surely_below
from tasks.monitoring.watched import Performance
from tasks.settings import Limits

DRIFTED = ("40 of 64 inputs drifted",)


def day_by_day(
    generator: np.random.Generator, days: int, rows: int, truth: float
) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    return np.repeat(np.arange(days), rows), generator.binomial(1, truth, days * rows).astype(float)


def test_a_score_at_the_bound_is_called_lower_in_few_of_many_streams_though_one_looks_every_day() -> None:
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        days, right = day_by_day(generator, 20, 100, 0.9)
        wrong += any(
            surely_below(days[: 100 * day], right[: 100 * day], 0.9, 0.05) is not None for day in range(1, 21)
        )
    assert wrong <= 0.05 * 200


def test_a_fall_after_a_good_month_is_seen_with_its_day_and_not_hidden_by_the_month() -> None:
    generator = np.random.default_rng(2)
    good, fallen = day_by_day(generator, 30, 300, 0.97), day_by_day(generator, 4, 300, 0.9)
    days, right = np.concatenate([good[0], fallen[0] + 30]), np.concatenate([good[1], fallen[1]])
    assert surely_below(good[0], good[1], 0.96, 0.05) is None
    day = surely_below(days, right, 0.96, 0.05)
    assert day is not None and 29 <= day <= 31


def test_nothing_is_below_a_bound_of_zero_or_without_rows() -> None:
    assert surely_below(np.empty(0), np.empty(0), 0.9, 0.05) is None
    assert surely_below(np.zeros(50), np.zeros(50), 0.0, 0.05) is None
    assert surely_below(np.zeros(50), np.zeros(50), 1.0, 0.05) == 0


def labelled(**what: object) -> Performance:
    given = {
        "rows": 1000,
        "labelled": 900,
        "coverage": 0.9,
        "score": 0.9,
        "low": 0.88,
        "high": 0.92,
        "proof": 0.95,
        "margin": 0.01,
        "lower": False,
        "below_since": None,
    }
    return Performance.model_validate(given | what)


@pytest.mark.parametrize(
    ("drifted", "performance", "status"),
    [
        (DRIFTED, None, "drifted"),
        (DRIFTED, labelled(labelled=20, coverage=0.02), "drifted"),  # too few labels to take the alarm back
        (DRIFTED, labelled(labelled=100, rows=100, coverage=1.0), "drifted"),
        (DRIFTED, labelled(), "shifted"),
        (DRIFTED, labelled(lower=True), "drifted"),
        ((), labelled(lower=True), "steady"),
        ((), labelled(lower=True, below_since="2026-11-20"), "worse"),
        (DRIFTED, labelled(lower=True, below_since="2026-11-20"), "worse"),
        ((), labelled(lower=True, below_since="2026-11-20", labelled=300, coverage=0.3), "steady"),  # who labels mistakes alone
        ((), None, "steady"),
    ],
)  # fmt: skip
def test_a_shift_alarms_unless_enough_labels_show_no_harm(
    drifted: tuple[str, ...], performance: Performance | None, status: str
) -> None:
    assert _verdict(drifted, performance, Limits())[0] == status
