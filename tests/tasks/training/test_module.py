"""A workload's module: built, or refused in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkout import BENCH, SUPPORT
from torch import nn

from tasks.config import Data
from tasks.data.dataset import prepare
from tasks.errors import UserError
from tasks.records import Dataset
from tasks.training.dry_run import dry_run
from tasks.training.module import all_outputs, build_module, main_output
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


def case(name: str, root: Any) -> tuple[Workload, Dataset]:
    """A small workload in the situation of a public report."""
    reference = str(SUPPORT / "cases" / name)
    return load_workload(reference), prepare(reference, Data(), root)


def numbers(module: nn.Module) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["rope.py", "rope.py:causal", "ops.py:lazy", "ops.py:counter", "ops.py:maxnorm"]
)
def test_what_a_module_keeps_of_its_first_call_can_be_trained_with_and_a_dry_run_leaves_nothing(
    name: str, tmp_path: Any
) -> None:
    workload, rows = case(name, tmp_path)
    module = build_module(workload, rows)
    before = numbers(module)
    assert dry_run(module, workload, rows, workload.train).loss > 0
    assert numbers(module) == before
    assert all(
        getattr(part, "kept", None) is None and getattr(part, "mask", None) is None
        for part in module.modules()
    )


def test_two_builds_of_a_lazy_module_from_one_seed_have_the_same_weights(tmp_path: Any) -> None:
    workload, rows = case("ops.py:lazy", tmp_path)
    first, second, other = (numbers(build_module(workload, rows, seed=seed)) for seed in (3, 3, 4))
    assert first == second != other


def test_a_lazy_layer_that_no_input_reaches_is_said(dataset: Dataset) -> None:
    class Beside(Flat):
        def __init__(self) -> None:
            super().__init__(10)
            self.beside = nn.LazyLinear(3)

    with pytest.raises(UserError, match="has a lazy layer that its forward does not reach: leave it out"):
        build_module(tiny(model=Beside), dataset)


def test_outputs_within_outputs_have_names_and_none_is_left_out() -> None:
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    assert list(all_outputs((a, (b, c)))) == ["output_0", "output_1_0", "output_1_1"]
    assert list(all_outputs((a, None, c))) == ["output_0", "output_2"]
    assert list(all_outputs({"logits": a, "state": [b, {"cell": c}], "weights": None})) == [
        "logits",
        "state_0",
        "state_1_cell",
    ]
    assert main_output((None, a)) is a
    with pytest.raises(
        TypeError, match="returned cache as a object: return tensors, alone or in tuples, lists and"
    ):
        all_outputs({"logits": a, "cache": object()})
    with pytest.raises(TypeError, match="two outputs the name state_0"):
        all_outputs({"state": (a,), "state_0": b})


@pytest.mark.parametrize("name", ["turns.py", "turns.py:nothing"])
def test_a_recurrent_state_or_nothing_beside_the_logits_is_no_obstacle(name: str, tmp_path: Any) -> None:
    build_module(*case(name, tmp_path))


def test_an_output_with_the_name_of_an_input_or_of_another_is_said(dataset: Dataset, tmp_path: Any) -> None:
    with pytest.raises(
        UserError, match="output row_id has the name of an input, .*: return it as row_id_out"
    ):
        build_module(*case("scored.py", tmp_path))

    class Twice(Flat):
        def forward(self, image: torch.Tensor) -> Any:
            return {"first": super().forward(image), "logits": image.flatten(1)}

    with pytest.raises(UserError, match="output logits has the name of another output"):
        build_module(tiny(model=lambda: Twice(10)), dataset)


def test_an_output_without_rows_is_said_also_when_it_is_as_long_as_the_rows_that_are_tried(
    dataset: Dataset,
) -> None:
    class Layers(Flat):
        def forward(self, image: torch.Tensor) -> Any:
            return super().forward(image), torch.zeros(2, len(image), 4)

    with pytest.raises(
        UserError, match=r"output output_1 has no row for each row of a request: .*boxes a fixed number"
    ):
        build_module(tiny(model=lambda: Layers(10)), dataset)
