"""A workload's own loss, tried before training: on the target's shape, or refused in a sentence that names both."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from checkout import SUPPORT
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from predicting import predict
from torch import nn
from torch.nn import functional

from tasks.config import Data
from tasks.data.arrays import Samples
from tasks.data.dataset import prepare, read_split
from tasks.errors import UserError
from tasks.training.checkpoint import load_weights
from tasks.training.loss import check_loss, loss_of
from tasks.training.module import build_module
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

CPU = torch.device("cpu")


def workload_of(loss: Any, kind: Any = "regression") -> Workload:
    return Workload(
        name="toy",
        kind=kind,
        load=lambda: None,  # type: ignore[arg-type, return-value]
        schema=lambda: None,  # type: ignore[arg-type, return-value]
        target="y",
        inputs=lambda frame: {},
        model=lambda: nn.Identity(),
        loss=loss,
    )


class Linear(nn.Module):
    """[n, 3] to [n, width], or to [n] where width is 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(3, max(width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(x)
        return outputs if self.width else outputs[:, 0]


def samples(target: Any, seed: int = 0) -> Samples:
    target = np.asarray(target)
    x = np.random.default_rng(seed).normal(size=(len(target), 3)).astype("float32")
    return Samples({"x": x}, target)


NUMBERS = np.random.default_rng(1).normal(size=64).astype("float32")

CODES = np.arange(64) % 3


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        nn.L1Loss(),
        nn.HuberLoss(),
        nn.SmoothL1Loss(),
        nn.PoissonNLLLoss(),
        functional.huber_loss,
        functional.mse_loss,
    ],
)
@pytest.mark.filterwarnings("error")
def test_torchs_own_losses_get_outputs_in_the_targets_shape(loss: Any) -> None:
    """torch broadcasts [n, 1] against [n] to [n, n], with a warning at most."""
    outputs, target = torch.randn(9, 1), torch.randn(9)
    workload = workload_of(loss)
    check_loss(workload, Linear(1), samples(NUMBERS))
    assert loss_of(workload, CPU)({"prediction": outputs}, (target,)).equal(loss(outputs[:, 0], target))


def focal(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    surely = functional.cross_entropy(outputs, target, reduction="none")
    return ((1 - (-surely).exp()) ** 2 * surely).mean()


@pytest.mark.parametrize(
    ("loss", "width", "kind", "target"),
    [
        (lambda outputs, target: ((outputs - target) ** 2).mean(), 1, "regression", NUMBERS),
        (lambda outputs, target: (outputs - target).abs().sum(), 1, "regression", 1e6 + NUMBERS),
        (lambda outputs, target: functional.huber_loss(outputs, target), 1, "regression", NUMBERS),
        (lambda outputs, target: ((outputs[:, 1:2].sigmoid() - target) ** 2).mean(), 3, "classification", CODES),
        (lambda outputs, target: functional.mse_loss(outputs, target[None]), 0, "regression", NUMBERS[None].T[:, 0]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_that_takes_outputs_for_other_rows_targets_is_refused_with_both_shapes(
    loss: Any, width: int, kind: str, target: Any
) -> None:
    if width == 0:  # [n] against [1, n] is the same row for row
        check_loss(workload_of(loss, kind), Linear(width), samples(target))
        return
    said = rf"compares each row's output with every row's target, for outputs \[3, {width}\] and a target .* \[3\] are broadcast"
    with pytest.raises(UserError, match=said) as refused:
        check_loss(workload_of(loss, kind), Linear(width), samples(target))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("loss", "width", "kind", "target"),
    [
        (lambda outputs, target: ((outputs[:, 0] - target) ** 2).mean(), 1, "regression", NUMBERS),
        (lambda outputs, target: (outputs.squeeze(-1) - target).abs().sum(), 1, "regression", 1e6 + NUMBERS),
        (lambda outputs, target: functional.gaussian_nll_loss(outputs[:, 0], target, outputs[:, 1].exp()), 2, "regression", NUMBERS),
        (lambda outputs, target: torch.maximum(0.9 * (target - outputs[:, 0]), 0.1 * (outputs[:, 0] - target)).mean(), 1, "regression", NUMBERS),
        (lambda outputs, target: (outputs**2).mean(), 1, "regression", NUMBERS),  # one that needs no target
        (nn.HuberLoss(), 1, "regression", np.ones(64, "float32")),
        (nn.HuberLoss(), 0, "regression", NUMBERS),
        (nn.CrossEntropyLoss(weight=torch.ones(3)), 3, "classification", CODES),
        (focal, 3, "classification", CODES),
        (lambda outputs, target: functional.binary_cross_entropy_with_logits(outputs[:, 0], target.float()), 1, "classification", CODES % 2),
        (lambda outputs, target: functional.margin_ranking_loss(outputs[1:, 0], outputs[:-1, 0], (target[1:] - target[:-1]).sign()), 1, "regression", NUMBERS),
    ],
)  # fmt: skip
def test_a_loss_that_pairs_rows_is_taken(
    loss: Callable[..., Any], width: int, kind: str, target: Any
) -> None:
    check_loss(workload_of(loss, kind), Linear(width), samples(target))


@pytest.mark.parametrize("rows", [2, 3])
def test_outputs_that_fit_the_target_by_chance_do_not(rows: int) -> None:
    """Two outputs a row broadcast against two rows, and fail on the first batch."""
    with pytest.raises(UserError, match=r"its loss fails on outputs .* and a target torch.float32"):
        check_loss(
            workload_of(lambda outputs, target: (outputs - target).mean()), Linear(rows), samples(NUMBERS)
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e4), st.floats(-1e4, 1e4), st.integers(3, 64))
@example(1976, 1.0, 0.0, 4)  # whose first row is the mean of all
def test_what_rows_hold_decides_nothing(seed: int, scale: float, centre: float, rows: int) -> None:
    target = (np.random.default_rng(seed).normal(size=rows) * scale + centre).astype("float32")
    assume(np.ptp(target) > 1e-5 * abs(centre))  # else float32 hardly tells the rows apart
    paired = workload_of(lambda outputs, target: (outputs[:, 0] - target).abs().mean())
    mixed = workload_of(lambda outputs, target: (outputs - target).abs().mean())
    check_loss(paired, Linear(1), samples(target))
    with pytest.raises(UserError, match="every row's target"):
        check_loss(mixed, Linear(1), samples(target))


def test_a_loss_that_keeps_what_it_saw_is_left_as_it_was() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            return functional.mse_loss(outputs[:, 0], target)

    loss = Centred()
    check_loss(workload_of(loss), Linear(1), samples(NUMBERS))
    assert loss.seen == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["workload", "plain", "l1"])
def test_a_robust_loss_learns_what_the_default_does(tmp_path: Any, name: str) -> None:
    """pytorch#16045: a promoted R² of 0.03."""
    reference = f"{SUPPORT / 'cases' / 'demand.py'}:{name}"
    workload = load_workload(reference)
    dataset = prepare(reference, Data(), tmp_path / "datasets")
    checkpoint = train(reference, dataset, workload.train, tmp_path / "training")
    assert checkpoint.score > 0.95
    assert len(read_split(dataset, "validation")) > 100


@pytest.mark.slow
def test_a_losss_weights_meet_the_classes_that_they_were_given_for(tmp_path: Any) -> None:
    """mljar#245, automlbenchmark#212: an ordered category was sorted by its letters, and "high" was never recalled."""
    reference = str(SUPPORT / "cases" / "triage.py")
    workload = load_workload(reference)
    dataset = prepare(reference, Data(), tmp_path / "datasets")
    checkpoint = train(reference, dataset, workload.train, tmp_path / "training")
    module = build_module(workload, dataset, None, 0)
    module.load_state_dict(load_weights(checkpoint))
    test = read_split(dataset, "test")
    answers = predict(module, test.inputs).argmax(1)
    assert dataset.classes is not None and dataset.classes.index("high") == 2
    assert (answers[test.target == 2] == 2).mean() >= 0.9


def test_a_broadcasting_loss_of_ones_own_is_refused_before_training(tmp_path: Any) -> None:
    reference = f"{SUPPORT / 'cases' / 'demand.py'}:own"
    dataset = prepare(reference, Data(), tmp_path / "datasets")
    with pytest.raises(UserError, match=r"outputs \[3, 1\] and a target torch.float32 \[3\] are broadcast"):
        train(reference, dataset, load_workload(reference).train, tmp_path / "training")
    assert not [*(tmp_path / "training").rglob("checkpoint.json")]
