"""A workload's module: built, or refused in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkout import BENCH
from torch import nn

from tasks.config import Data
from tasks.data.dataset import prepare
from tasks.errors import UserError
from tasks.records import Dataset
from tasks.training.module import build_module
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

TINY = str(BENCH / "tiny_digits.py")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(TINY, Data(), tmp_path_factory.mktemp("data"))


def tiny(**fields: Any) -> Workload:
    import dataclasses

    return dataclasses.replace(load_workload(TINY), **fields)


class Names(nn.Module):
    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return picture


class Flat(nn.Module):
    def __init__(self, outputs: int, inputs: int = 64) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(image.flatten(1))
        return result


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Names, "inputs\\(\\) gives image, but the model's forward takes picture: use the same names"),
        (
            lambda: Flat(10, inputs=63),
            r"its model fails on its own inputs \(image float32\[2, 1, 8, 8\]\): RuntimeError: mat1",
        ),
        (
            lambda: Flat(3),
            r"gives outputs of shape \[2, 3\] for 2 rows; \[2, 10\] is needed for classification",
        ),
        (lambda: 3, "its model is a int; return a torch.nn.Module"),
        (lambda: 1 / 0, "its model was not built: ZeroDivisionError: division by zero"),
    ],
)
def test_a_model_that_cannot_work_is_refused_in_a_sentence(
    model: Callable[[], Any], message: str, dataset: Dataset
) -> None:
    with pytest.raises(UserError, match=f"Workload tiny-digits: .*{message}"):
        build_module(tiny(model=model), dataset)


def test_a_model_may_ask_for_the_training_inputs(dataset: Dataset) -> None:
    seen: list[tuple[int, ...]] = []

    def model(inputs: dict[str, Any]) -> nn.Module:
        seen.append(inputs["image"].shape)
        return Flat(10)

    build_module(tiny(model=model), dataset)
    assert seen == [(dataset.rows["train"], 1, 8, 8)]
