"""What any workload file has to hold, whoever wrote it: `broken_clauses("path/to/yours.py", folder)` is empty."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from predicting import predict
from torch import nn

from tasks.config import Data, Train
from tasks.data.arrays import Samples, to_inputs
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.onnx.export import export_module
from tasks.onnx.package import build_folder
from tasks.onnx.session import open_session
from tasks.records import Checkpoint, Dataset, OnnxModel
from tasks.training.given import signature_of
from tasks.training.loss import loss_of
from tasks.training.module import all_outputs, build_module, goal_outputs, load_module
from tasks.training.trainer import fit
from tasks.training.untrained import ship as ship_as_it_is
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

TOLERANCE = 1e-4
COMPANY = 1e-3  # batches of another size add up in another order, which a deep softmax shows
_TRAINED_ROWS = 129  # by sixteens: the last batch would be a single row
_SIZES = (1, 2, 3, 31)


@dataclass
class Ship:
    """A workload on its way: rows, module, a short training, the file; each made once."""

    reference: str
    folder: Path
    data: Data
    model: str | None

    @cached_property
    def workload(self) -> Workload:
        return load_workload(self.reference)

    @cached_property
    def dataset(self) -> Dataset:
        return prepare(self.reference, self.data, self.folder / "datasets")

    def rows(self, split: str, count: int) -> Samples:
        return read_split(self.dataset, split)[:count]

    def built(self) -> nn.Module:
        return build_module(self.workload, self.dataset, self.model)

    def train(self, folder: str) -> tuple[nn.Module, Checkpoint]:
        """A new module after one epoch of a few rows."""
        module = self.built()
        if self.workload.train is None:
            return module, ship_as_it_is(self.workload, self.dataset, self.folder / folder, self.model)
        config = Train(epochs=1, batch_size=16, threads=1, lr=self.workload.train.lr)
        rows, validation = self.rows("train", _TRAINED_ROWS), self.rows("validation", 40)
        return module, fit(module, rows, validation, config, self.folder / folder, workload=self.workload)

    @cached_property
    def trained(self) -> tuple[nn.Module, Checkpoint]:
        return self.train("training")

    @cached_property
    def loaded(self) -> nn.Module:
        return load_module(self.workload, self.dataset, self.trained[1], model=self.model)

    @cached_property
    def exported(self) -> OnnxModel:
        return export_module(self.loaded, self.workload, self.dataset, self.folder / "model.onnx", {})


def broken_clauses(
    reference: str, folder: Path, *, data: Data | None = None, model: str | None = None
) -> list[str]:
    """Every clause that the workload breaks, in words; `data` keeps large ones short."""
    return broken_by(Ship(reference, folder, data or load_workload(reference).data, model))


def broken_by(ship: Ship) -> list[str]:
    return [f"{clause.__name__}: {said}" for clause in CLAUSES for said in clause(ship)]


def rows_are_the_same_every_time(ship: Ship) -> Iterator[str]:
    again = prepare(ship.reference, ship.data, ship.folder / "again")
    if again.fingerprint != ship.dataset.fingerprint:
        yield "load() gives other rows when it is called again"
    for file in sorted(ship.dataset.folder.rglob("*.npy")):
        if file.read_bytes() != (again.folder / file.relative_to(ship.dataset.folder)).read_bytes():
            yield f"{file.name} is made otherwise of the same rows"


def a_row_does_not_depend_on_its_neighbours(ship: Ship) -> Iterator[str]:
    frame = read_frame(ship.dataset, "train").head(50)
    among = to_inputs(ship.workload, frame)
    for name, array in to_inputs(ship.workload, frame.iloc[[7]].reset_index(drop=True)).items():
        common = tuple(slice(0, size) for size in array.shape[1:])
        if not np.allclose(array[0], among[name][7][common], rtol=1e-6, equal_nan=True):
            yield f"{name} of a row differs when it comes alone"


def names_agree_from_the_forward_to_the_signature(ship: Ship) -> Iterator[str]:
    names = [spec.name for spec in ship.dataset.inputs]
    session = open_session(ship.exported.path)
    takes = set(signature_of(ship.loaded).parameters)
    if not set(names) <= takes:
        yield f"forward takes {takes}, inputs() gives {names}"
    if {value.name for value in session.get_inputs()} != set(names):
        yield f"the file takes {[value.name for value in session.get_inputs()]}"
    if session.get_outputs()[0].name != ship.workload.outputs[0]:
        yield f"the file's first output is {session.get_outputs()[0].name}"
    if [value.name for value in session.get_outputs()] != [spec.name for spec in ship.exported.outputs]:
        yield "the record names other outputs than the file"


def building_and_training_are_the_same_every_time(ship: Ship) -> Iterator[str]:
    for what, first, second in (
        ("built", ship.built(), ship.built()),
        ("trained", ship.trained[0], ship.train("training-again")[0]),
    ):
        ours, theirs = first.state_dict(), second.state_dict()
        if [name for name in ours if not torch.equal(ours[name], theirs[name])]:
            yield f"a module {what} again has other weights"


def training_moves_what_it_may_and_nothing_else(ship: Ship) -> Iterator[str]:
    if ship.workload.train is None:
        return
    before, after = dict(ship.built().named_parameters()), dict(ship.trained[0].named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    if frozen := [name for name in moved if not before[name].requires_grad]:
        yield f"training changed the frozen {', '.join(frozen)}"
    if not moved:
        yield "training changed nothing"


def a_checkpoint_answers_as_the_module_it_was_saved_from(ship: Ship) -> Iterator[str]:
    inputs = ship.rows("validation", 20).inputs
    if not np.array_equal(predict(ship.loaded, inputs), predict(ship.trained[0], inputs), equal_nan=True):
        yield "the loaded module answers otherwise than the trained one"


def the_loss_is_one_number_that_reaches_the_weights(ship: Ship) -> Iterator[str]:
    if ship.workload.train is None:
        return
    # enough of them for a query of a ranking to have some that are worth something
    module, rows = ship.built().train(), ship.rows("train", 64)
    inputs = {name: torch.from_numpy(np.array(array)) for name, array in rows.inputs.items()}
    targets = tuple(torch.from_numpy(np.array(target)) for target in rows.targets)
    loss = loss_of(ship.workload, targets[0].device)(goal_outputs(ship.workload, module(**inputs)), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    if loss.ndim or not loss.isfinite():
        yield f"the loss is {loss}"
    if not any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters()):
        yield "no gradient reaches a weight"


def every_batch_size_gets_torchs_answers(ship: Ship) -> Iterator[str]:
    """Every output, on rows and sizes that were never traced."""
    session = open_session(ship.exported.path)
    for size in _SIZES:
        inputs = {n: np.resize(a, (size, *a.shape[1:])) for n, a in ship.rows("test", size).inputs.items()}
        with torch.inference_mode():
            outputs = all_outputs(ship.loaded(**{n: torch.tensor(a) for n, a in inputs.items()}))
        for (name, expected), got in zip(outputs.items(), session.run(None, inputs), strict=True):
            if got.shape != tuple(expected.shape) or not np.allclose(
                got, expected.numpy(), TOLERANCE, TOLERANCE
            ):
                yield f"{name} differs from torch's at batch {size}"


def a_row_is_answered_alike_in_any_company(ship: Ship) -> Iterator[str]:
    session = open_session(ship.exported.path)
    inputs = ship.rows("test", 31).inputs
    together = session.run(None, {name: np.array(array) for name, array in inputs.items()})[0]
    alone = session.run(None, {name: np.array(array[5:6]) for name, array in inputs.items()})[0]
    if not np.allclose(together[5:6], alone, COMPANY, COMPANY):
        yield "a row's answer changes with the rows it comes with"


def it_packs_into_a_folder_that_answers_its_own_example(ship: Ship) -> Iterator[str]:
    from tasks.promotion.verification import answer

    folder: Any = ship.folder / "package"
    build_folder(ship.exported, ship.dataset, folder)
    answer(folder)
    yield from ()


CLAUSES: tuple[Callable[[Ship], Iterator[str]], ...] = (
    rows_are_the_same_every_time,
    a_row_does_not_depend_on_its_neighbours,
    building_and_training_are_the_same_every_time,
    training_moves_what_it_may_and_nothing_else,
    a_checkpoint_answers_as_the_module_it_was_saved_from,
    the_loss_is_one_number_that_reaches_the_weights,
    names_agree_from_the_forward_to_the_signature,
    every_batch_size_gets_torchs_answers,
    a_row_is_answered_alike_in_any_company,
    it_packs_into_a_folder_that_answers_its_own_example,
)
