"""The contract kit over our workloads, over shapes of model that ours are not, and over files that break it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import contract
import given_models
import pytest
from checkout import SUPPORT

from tasks.config import Data
from tasks.errors import UserError
from tasks.workloads.catalogue import load_workload, names

MODELS = SUPPORT / "contract_models.py"
LARGE = ("topics", "filetype")
SHORT = {"flights": Data(until="2013-02-01")}  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.platform) if name in LARGE else name for name in names()],
)
def test_ours_hold_the_contract(name: str, tmp_path: Path) -> None:
    """topics brings 83 MB of weights, and filetype reads files of the whole machine: with `make test-all`."""
    ship = contract.Ship(name, tmp_path, SHORT.get(name, load_workload(name).data), None)
    try:
        assert ship.dataset.rows
    except UserError as error:
        pytest.skip(str(error))
    assert contract.broken_by(ship) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [
        "several_inputs",
        "regression_with_batch_norm_and_dropout",
        "recurrent_with_two_outputs",
        "tied_weights",
        "buffers_that_matter",
        "a_frozen_part_and_two_outputs",
        "hugging_face",
    ],
)
def test_a_shape_that_ours_are_not_holds_the_contract(shape: str, tmp_path: Path) -> None:
    if shape == "hugging_face":
        pytest.importorskip("transformers")
    assert contract.broken_clauses(f"{MODELS}:{shape}", tmp_path) == []


@pytest.mark.slow
def test_a_model_that_exists_holds_the_contract(tmp_path: Path) -> None:
    assert contract.broken_clauses(given_models.given(tmp_path, "Onnx"), tmp_path) == []


BROKEN = f"""
import sys
sys.path.insert(0, {str(MODELS.parent)!r})
from dataclasses import replace
import numpy as np, torch
from contract_models import *
def shuffled():
    return load().sample(frac=1.0, random_state=np.random.default_rng())
def scaled(frame):
    values = numbers(frame)["numbers"]
    return {{"numbers": values / np.abs(values).max()}}
class Unseeded(Centred):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.head.weight.data[:] = torch.from_numpy(np.random.default_rng().normal(size=(3, 4)))
class Thawed(Frozen):
    def forward(self, numbers):
        if self.training:
            self.body[0].weight.data += 1
        return super().forward(numbers)
class Detached(Centred):
    def forward(self, numbers):
        return super().forward(numbers).detach().requires_grad_()
class Forgetful(Centred):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.moved = torch.zeros(3)
    def forward(self, numbers):
        if self.training:
            self.moved = self.moved + 1
        return super().forward(numbers) + self.moved.cumsum(0)
base = buffers_that_matter
shuffled_rows = replace(base, load=shuffled)
batch_scaled = replace(base, inputs=scaled)
unseeded = replace(base, model=Unseeded)
thawed = replace(base, model=Thawed)
detached = replace(base, model=Detached)
forgetful = replace(base, model=Forgetful)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "clause", "said"),
    [
        ("shuffled_rows", contract.rows_are_the_same_every_time, "other rows when it is called again"),
        ("batch_scaled", contract.a_row_does_not_depend_on_its_neighbours, "differs when it comes alone"),
        ("unseeded", contract.building_and_training_are_the_same_every_time, "built again has other weights"),
        ("thawed", contract.training_moves_what_it_may_and_nothing_else, "changed the frozen body.0.weight"),
        ("detached", contract.the_loss_is_one_number_that_reaches_the_weights, "no gradient reaches"),
        ("forgetful", contract.a_checkpoint_answers_as_the_module_it_was_saved_from, "answers otherwise"),
    ],
)
def test_a_broken_clause_is_seen(
    what: str, clause: Callable[[contract.Ship], Iterator[str]], said: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    ship = contract.Ship(f"{tmp_path / 'broken.py'}:{what}", tmp_path, Data(), None)
    results = list(clause(ship))
    assert results and any(said in line for line in results), results
