"""What a score is: accuracy, R² and a workload's own, from a model's raw outputs."""

import math
from typing import Any

import numpy as np
import pytest

from tasks.errors import UserError
from tasks.goals.words import softmax
from tasks.workloads import scoring as score
from tasks.workloads.workload import Workload


def workload(kind: str = "classification", **fields: Any) -> Workload:
    return Workload(
        name="toy",
        kind=kind,  # type: ignore[arg-type]
        load=lambda: None,  # type: ignore[arg-type, return-value]
        schema=lambda: None,  # type: ignore[arg-type, return-value]
        target="y",
        inputs=lambda frame: {},
        model=lambda: None,  # type: ignore[arg-type, return-value]
        **fields,
    )


LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 0.1, 0.9], [9.0, 0.0, 0.0]], "float32")


def test_accuracy_is_the_default_of_a_classification() -> None:
    assert score.score(workload(), np.array([0, 1, 2, 1]), LOGITS) == 0.75
    assert score.score_name(workload()) == "accuracy"


def test_one_logit_is_a_binary_classification() -> None:
    outputs = np.array([[-1.0], [2.0], [3.0]], "float32")
    assert score.score(workload(), np.array([0, 1, 0]), outputs) == pytest.approx(2 / 3)
    assert softmax(outputs) == pytest.approx(
        np.array([[0.7311, 0.2689], [0.1192, 0.8808], [0.0474, 0.9526]]), abs=1e-4
    )


def test_r2_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    target = rng.normal(size=50).astype("float32")
    values = (target + rng.normal(size=50) / 3).astype("float32")
    assert score.score(workload("regression"), target, values[:, None]) == pytest.approx(
        r2_score(target, values), abs=1e-6
    )
    assert score.score_name(workload("regression")) == "r2"


def test_r2_of_a_constant_target_is_not_a_number() -> None:
    assert math.isnan(score.score(workload("regression"), np.ones(3, "float32"), np.zeros(3, "float32")))


def test_no_rows_have_no_score() -> None:
    assert math.isnan(score.score(workload(), np.empty(0, "int64"), np.empty((0, 3), "float32")))


def test_a_workloads_own_score_gets_class_codes() -> None:
    def macro(y_true: np.ndarray[Any, Any], y_pred: np.ndarray[Any, Any]) -> float:
        assert y_pred.tolist() == [0, 1, 2, 0]
        return 0.5

    own = workload(score=macro)
    assert score.score(own, np.array([0, 1, 2, 1]), LOGITS) == 0.5
    assert score.score_name(own) == "macro"


def test_a_score_that_asks_for_probabilities_gets_them() -> None:
    def sharpness(y_true: np.ndarray[Any, Any], y_pred: np.ndarray[Any, Any]) -> float:
        assert y_pred.shape == (4, 3)
        assert y_pred.sum(axis=1) == pytest.approx(np.ones(4))
        return float(y_pred.max())

    assert score.score(workload(score=sharpness, probabilities=True), np.array([0, 1, 2, 1]), LOGITS) > 0.99


def test_huge_logits_do_not_overflow() -> None:
    assert softmax(np.array([[1e30, 0.0], [-1e30, 0.0]], "float32")).tolist() == [[1, 0], [0, 1]]


def test_a_score_that_fails_is_named() -> None:
    def broken(y_true: np.ndarray[Any, Any], y_pred: np.ndarray[Any, Any]) -> float:
        raise ValueError("only one class")

    with pytest.raises(UserError, match="toy: its score broken failed on 4 rows: ValueError: only one class"):
        score.score(workload(score=broken), np.array([0, 1, 2, 1]), LOGITS)
