"""One bootstrap for every metric: equal to scikit-learn's scores, wide enough, and blind to copies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.goals import Forecast, metric
from tasks.goals.answer import Quantiles, Values
from tasks.goals.bootstrap import difference, interval, marks_of
from tasks.goals.words import Each, Many
from tasks.records import Fitted

Array = np.ndarray[Any, Any]


def rows(seed: int, count: int = 60, width: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)), rng.normal(size=(count, width))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_scores_are_scikit_learns_also_with_weights(seed: int, weighted: bool) -> None:
    from sklearn.metrics import f1_score, mean_absolute_error, mean_pinball_loss, r2_score

    truth, values = rows(seed)
    weight = np.random.default_rng(seed).uniform(0.1, 3, 60) if weighted else None
    numbers, labels = {"value": truth + values}, Many().decide([values + truth], Fitted())
    flags = (truth > 0).astype("float32")

    def score(made: metric.Metric, target: Array, answer: dict[str, Array]) -> float:
        return marks_of(made, target, answer, weight).score()

    assert score(metric.r2(), truth, numbers) == pytest.approx(
        r2_score(truth, numbers["value"], sample_weight=weight)
    )
    assert score(metric.negative_mae(), truth, numbers) == pytest.approx(
        -mean_absolute_error(truth, numbers["value"], sample_weight=weight)
    )
    assert score(metric.macro_f1(), flags, labels) == pytest.approx(
        f1_score(flags, labels["chosen"], average="macro", sample_weight=weight, zero_division=0)
    )
    levels = (0.1, 0.5)
    quantiles = Quantiles(levels=levels).decide([np.stack([values, values + 1], -1)], Fitted())
    pinball = [
        mean_pinball_loss(truth, quantiles["quantiles"][..., place], alpha=level, sample_weight=weight)
        for place, level in enumerate(levels)
    ]
    assert score(metric.negative_pinball(levels), truth, quantiles) == pytest.approx(-np.mean(pinball))


def test_ndcg_is_scikit_learns_the_mean_over_queries() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(3)
    gains, scores = rng.integers(0, 4, (30, 8)).astype(float), rng.normal(size=(30, 8))
    mixed = rng.permutation(240)
    target = np.stack([gains.ravel(), np.repeat(np.arange(30), 8)], 1)[mixed]
    marks = marks_of(metric.ndcg(5), target, Values().decide([scores.ravel()[mixed]], Fitted()))
    assert marks.score() == pytest.approx(ndcg_score(gains, scores, k=5))
    assert (sure := interval(marks, 0.95)) is not None and sure.low < marks.score() < sure.high


def test_tags_score_what_is_not_outside_and_nothing_behind_the_end() -> None:
    fitted, target = Fitted(classes=("O", "name")), np.array([[0, 1, -100], [0, 0, 0], [1, 0, -100]])
    said = np.array([[0, 1, 1], [0, 0, 0], [0, 1, 1]])
    answer = Each(outside=True).decide([np.eye(2)[said]], fitted)
    assert marks_of(metric.tag_f1(), target, answer).score() == pytest.approx(0.5)
    nothing = Each(outside=True).decide([np.eye(2)[np.zeros_like(said)]], fitted)
    assert marks_of(metric.tag_f1(), target, nothing).score() == 0


def test_r2_is_not_defined_for_a_constant_target_however_large() -> None:
    for value in (0.0, 0.1, 1e6 + 0.1):
        marks = marks_of(metric.r2(), np.full(50, value), {"value": np.arange(50.0)})
        assert np.isnan(marks.score()) and interval(marks, 0.95) is None
    nearly = marks_of(metric.r2(), np.eye(50)[0], {"value": np.zeros(50)})
    assert (sure := interval(nearly, 0.95)) is not None and sure.undefined == pytest.approx(
        1 / np.e, abs=0.05
    )


def test_r2_of_a_target_far_from_zero_is_exact() -> None:
    from sklearn.metrics import r2_score

    truth = 1e7 + np.random.default_rng(0).normal(size=400)
    values = truth + np.random.default_rng(1).normal(size=400) / 3
    assert marks_of(metric.r2(), truth, {"value": values}).score() == pytest.approx(r2_score(truth, values))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_an_interval_in_pairs_is_narrower_and_groups_make_it_as_wide_as_they_are_few(whole: bool) -> None:
    made = metric.negative_mae()
    if whole:
        made = metric.Metric(
            "own", whole=lambda target, answer: -float(np.abs(target - answer["value"]).mean())
        )
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    ours = truth + rng.normal(size=200)
    copied = np.repeat(np.arange(200), 6)

    def wide(groups: Array | None, index: Array) -> tuple[float, float]:
        first, second = (
            marks_of(made, truth[index], {"value": values[index]}) for values in (ours, ours + 0.1)
        )
        alone, beside = interval(first, 0.95, groups), difference(first, second, 0.95, groups)
        assert alone is not None and beside is not None
        return alone.high - alone.low, beside.high - beside.low

    plain, grouped, fooled = wide(None, np.arange(200)), wide(copied, copied), wide(None, copied)
    assert plain[1] < 0.5 * plain[0]
    assert grouped == pytest.approx(plain, rel=0.25) and fooled[0] < 0.6 * plain[0]


def test_encoders_that_say_the_same_of_all_rows_find_nothing() -> None:
    target, rng = np.zeros(40), np.random.default_rng(0)
    same = Values().decide([np.ones((40, 3)), np.ones((40, 3))], Fitted())
    assert marks_of(metric.recall(1), target, same).score() == 0
    vectors = rng.normal(size=(40, 3))
    right = Values().decide([vectors, 2 * vectors], Fitted())
    assert marks_of(metric.recall(1), target, right).score() == 1


def test_what_a_forecast_says_beside_its_score_is_what_it_says_by_hand() -> None:
    rng = np.random.default_rng(0)
    past, target = rng.normal(size=(40, 12)).cumsum(axis=1), rng.normal(size=(40, 3)).astype("float32")
    said = rng.normal(size=(40, 3, 3)).astype("float32")
    goal, weight = Forecast("y", horizon=3, quantiles=(0.9, 0.1, 0.5), past="past", season=4), rng.random(40)
    answer = {**goal.answer.decide([said], Fitted()), metric.input_called("past"): past}
    values = {m.name: marks_of(m, target, answer, weight).values() for m in goal.details}
    far = np.abs(target - said[..., 2])
    naive = np.array([np.mean([abs(row[i] - row[i - 4]) for i in range(4, 12)]) for row in past])
    within = (said[..., 1] <= target) & (target <= said[..., 0])
    falls = (said[..., 1] > said[..., 2]) | (said[..., 2] > said[..., 0])
    assert values["mase"] == pytest.approx(np.average(far.mean(axis=1) / naive, weights=weight))
    assert values["mae by step"] == pytest.approx(np.average(far, axis=0, weights=weight))
    assert values["coverage of 0.8"] == pytest.approx(np.average(within.mean(axis=1), weights=weight))
    assert values["crossed quantiles"] == pytest.approx(np.average(falls.mean(axis=1), weights=weight))
