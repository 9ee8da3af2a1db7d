"""What rows weigh, in scores and in losses; and rows that come and go as one, in intervals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from predicting import predict
from sklearn import metrics
from torch import nn

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.errors import UserError
from tasks.goals import Classify, Forecast, Match, MultiLabel, Regress
from tasks.goals.bootstrap import interval, marks_of
from tasks.goals.goal import Goal
from tasks.goals.metric import Array, Truth
from tasks.training.loss import check_loss
from tasks.training.trainer import fit
from tasks.workloads.rows import Rows
from tasks.workloads.scoring import score
from tasks.workloads.workload import Workload


def workload_of(goal: Goal | tuple[Goal, ...] | None, **more: Any) -> Workload:
    return Workload(
        name="toy",
        goal=goal,
        load=lambda: None,  # type: ignore[arg-type, return-value]
        schema=lambda: None,  # type: ignore[arg-type, return-value]
        inputs=lambda frame: {},
        model=lambda: None,  # type: ignore[arg-type, return-value]
        rows=Rows(weight="w"),
        **more,
    )


def of_classes(target: Array, outputs: Array, weight: Array) -> float:
    return float(metrics.accuracy_score(target, outputs.argmax(1), sample_weight=weight))


def of_labels(target: Array, outputs: Array, weight: Array) -> float:
    return float(
        metrics.f1_score(target, outputs > 0, sample_weight=weight, average="macro", zero_division=0)
    )


def of_values(target: Array, outputs: Array, weight: Array) -> float:
    return float(metrics.r2_score(target, outputs, sample_weight=weight))


def of_steps(target: Array, outputs: Array, weight: Array) -> float:
    return -float(metrics.mean_absolute_error(target, outputs, sample_weight=weight))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
@pytest.mark.parametrize(
    ("goal", "kind", "theirs"),
    [
        (Classify("y"), "codes", of_classes),
        (MultiLabel("a", "b", "c", thresholds=False), "flags", of_labels),
        (Regress("a", "b", "c"), "numbers", of_values),
        (Forecast("next", horizon=3), "numbers", of_steps),
    ],
)
def test_weighted_scores_are_scikit_learns(
    goal: Goal, kind: str, theirs: Callable[..., float], seed: int
) -> None:
    random = np.random.default_rng(seed)
    outputs = random.normal(size=(40, 3)).astype("float32")
    target = {
        "codes": random.integers(0, 3, 40),
        "flags": random.integers(0, 2, (40, 3)).astype("float32"),
        "numbers": random.normal(size=(40, 3)).astype("float32"),
    }[kind]
    weight = random.integers(0, 4, 40).astype("float32") + np.float32(0.25)
    ours = score(workload_of(goal), Truth((target,), weight), outputs)
    assert ours == pytest.approx(theirs(target, outputs, weight), abs=1e-6)


def test_a_score_of_ones_own_is_given_the_weights_or_says_that_it_takes_none() -> None:
    random = np.random.default_rng(0)
    target, outputs = random.integers(0, 2, 60), random.normal(size=(60, 2)).astype("float32")
    weight = random.uniform(0, 3, 60)
    older = {"kind": "classification", "target": "y", "probabilities": True}
    auc = workload_of(None, **older, score=metrics.roc_auc_score)
    shares = torch.from_numpy(outputs).softmax(1)[:, 1].numpy()
    wanted = metrics.roc_auc_score(target, shares, sample_weight=weight)
    assert score(auc, Truth((target,), weight), outputs) == pytest.approx(wanted)
    with pytest.raises(UserError, match="score mine failed on 60 rows: TypeError: .*sample_weight"):
        score(
            workload_of(None, **older, score=lambda a, b: 0.5, score_name="mine"),
            Truth((target,), weight),
            outputs,
        )


@pytest.mark.slow
def test_a_row_that_weighs_three_is_learned_as_three_rows_are(tmp_path: Path) -> None:
    """Whole batches and plain gradient descent, so that what differs is rounding alone; also in two parts of a batch."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 4)).astype("float32"), random.integers(0, 3, 64)
    weight = random.integers(0, 4, 64)
    times = np.repeat(np.arange(64), weight)
    config = Train(
        epochs=3, batch_size=65_536, optimizer="sgd", lr=0.1, schedule="constant", warmup=0, patience=None
    )
    parted = config.model_copy(update={"batch_size": 32, "accumulate": 2})
    rows = Samples({"x": x}, y, weight=weight.astype("float32"))
    predicted = []
    for name, samples, how in (
        ("weighed", rows, config),
        ("in parts", rows, parted),
        ("repeated", Samples({"x": x[times]}, y[times]), config),
    ):
        torch.manual_seed(0)
        module = Linear()
        weighs = workload_of(Classify("y"))
        workload = weighs if samples.weight is not None else replace(weighs, rows=Rows())
        fit(module, samples, samples, how, tmp_path / name, workload=workload)
        predicted.append(predict(module, {"x": x}))
    np.testing.assert_allclose(predicted[0], predicted[2], atol=1e-5)
    np.testing.assert_allclose(predicted[1], predicted[2], atol=1e-5)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(x)
        return logits


@pytest.mark.parametrize(
    "goal",
    [
        Classify("y", loss=lambda output, target: nn.functional.cross_entropy(output, target)),
        Match(ours="logits", theirs="logits_2"),
    ],
)
def test_a_loss_that_gives_no_number_a_row_is_refused_where_rows_weigh(goal: Goal) -> None:
    rows = Samples({"x": np.zeros((8, 4), "float32")}, np.arange(8) % 3, weight=np.ones(8, "float32"))

    class Twins(Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x), super().forward(x)

    module = Twins() if len(goal.outputs) > 1 else Linear()
    with pytest.raises(UserError, match="its rows weigh, and its loss gives one number .* reduction='none'"):
        check_loss(workload_of(goal), module, rows)
    own = Classify("y", loss=nn.CrossEntropyLoss(weight=torch.ones(3)))
    check_loss(workload_of(own), Linear(), rows)


@pytest.mark.slow
def test_intervals_of_overlapping_windows_cover_when_they_are_resampled_in_groups() -> None:
    """An AR(1) series in windows of 24 steps, one an hour: neighbours hold nearly the same errors, and rows are too sure."""
    from scipy.signal import lfilter  # half a second, of whoever collects the tests

    goal, random, steps, hours = Forecast("next", horizon=24), np.random.default_rng(0), 24, 1200
    covered, asked = {"rows": 0, "blocks": 0}, {"rows": 20, "blocks": 120}
    truth = -np.sqrt(2 / np.pi) / np.sqrt(1 - 0.9**2)
    for trial in range(asked["blocks"]):
        series = lfilter([1.0], [1.0, -0.9], random.normal(size=hours + steps + 200))[200:]
        windows = np.lib.stride_tricks.sliding_window_view(series, steps)[:hours].astype("float32")
        marks = marks_of(goal.metric, windows, {"value": np.zeros_like(windows)})
        for name, groups in (("rows", None), ("blocks", np.arange(hours) // 96)):
            if trial < asked[name]:
                found = interval(marks, 0.95, groups)
                assert found is not None
                covered[name] += found.low <= truth <= found.high
    assert covered["blocks"] >= 0.85 * asked["blocks"]
    assert covered["rows"] <= 0.5 * asked["rows"]
