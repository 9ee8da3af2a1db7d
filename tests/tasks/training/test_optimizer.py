"""The learning rate by its schedule, and every update rule."""

from typing import Any

import numpy as np
import pytest

from tasks.config import Train
from tasks.training.optimizer import learning_rate


@pytest.mark.parametrize(
    ("schedule", "last"),
    [("constant", 0.1), ("linear", 0.1 / 90), ("cosine", 0.1 * (1 - np.cos(np.pi / 90)) / 2)],
)
def test_the_learning_rate_rises_and_then_follows_its_schedule(schedule: Any, last: float) -> None:
    config = Train(lr=0.1, warmup=0.1, schedule=schedule)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert max(rates) == 0.1
    assert rates[-1] == pytest.approx(last)
