"""A workload's own loop: killed anywhere it ends as if it had not been, its best offer ships, and what is wrong is said."""

import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from goal_workloads import both
from torch import nn
from toy_training import FAST, Killed, computed, train_toy, workload

from tasks.data.arrays import Samples
from tasks.errors import StepError, UserError
from tasks.records import Metric
from tasks.system.storage import ObjectStorage
from tasks.training import trainer
from tasks.training.files_in_state import packed, unpacked
from tasks.training.metrics import read_metrics
from tasks.training.progress import Progress
from tasks.workloads import Training

Fit = Callable[[nn.Module, Training], None]


class Loop:
    """Somebody's: averaged weights, a scheduler, half an epoch at a time; killed at its `killed`-th call of ours."""

    def __init__(self, killed: int | None = None, by: str = "batches") -> None:
        self.left, self.by = killed, by

    def alive(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def __call__(self, module: nn.Module, training: Training) -> None:
        optimizer = torch.optim.AdamW(module.parameters(), training.config.lr)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        average = torch.optim.swa_utils.AveragedModel(module, use_buffers=True)
        parts: dict[str, Any] = {
            "module": module,
            "optimizer": optimizer,
            "schedule": schedule,
            "average": average,
        }
        first, done = 0, 0
        if state := training.resume():
            for name, part in parts.items():
                part.load_state_dict(state[name])
            first, done = state["epoch"], state["done"]
        loader = training.loader() if self.by == "loader" else None
        for epoch in range(first, training.config.epochs):
            module.train()
            batches = training.batches(epoch, done) if loader is None else loader
            for place, batch in enumerate(batches, done + 1):
                self.alive()
                loss = training.loss(module(**batch.inputs), batch)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                average.update_parameters(module)
                training.log(epoch * 4 + place, **{"their/loss": loss.item()})
                if place == 2 and loader is None:
                    kept = {name: part.state_dict() for name, part in parts.items()}
                    training.save(kept | {"epoch": epoch, "done": place}, epoch=epoch)
                    self.alive()
            schedule.step()
            done = 0
            training.offer(average.module, epoch=epoch)
            self.alive()
            kept = {name: part.state_dict() for name, part in parts.items()}
            training.save(kept | {"epoch": epoch + 1, "done": 0}, epoch=epoch)
            self.alive()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["batches", "loader"])
def test_a_loop_of_ones_own_killed_at_every_point_ends_as_if_it_had_not_been(by: str, tmp_path: Path) -> None:
    whole = train_toy(tmp_path / "whole", kind=workload(fit=Loop(by=by)))
    assert (whole.score > 0.5, whole.stopped) == (True, "its own fit ended")
    for point in (1, 3, 6, 7):  # before a save, after that of half an epoch, after an offer, after its save
        with pytest.raises(Killed):
            train_toy(tmp_path / f"{point}", kind=workload(fit=Loop(point, by)))
        resumed = train_toy(tmp_path / f"{point}", kind=workload(fit=Loop(by=by)))
        assert resumed.sha256 == whole.sha256, point
        assert computed(resumed) == computed(whole)


@pytest.mark.slow
def test_it_is_killed_again_and_again_at_its_first_save_and_still_the_same(tmp_path: Path) -> None:
    whole = train_toy(tmp_path / "whole", kind=workload(fit=Loop()))
    ended = None
    for _ in range(20):
        try:
            ended = train_toy(tmp_path / "killed", kind=workload(fit=Loop(4)))
            break
        except Killed:
            continue
    assert ended is not None and ended.sha256 == whole.sha256


def test_the_best_offer_ships_and_numbers_and_progress_go_where_those_of_our_loop_go(tmp_path: Path) -> None:
    published: list[Metric] = []
    seen: list[Progress] = []
    scores = iter([0.2, 0.7, 0.5])
    kind = workload(fit=Loop(), score=lambda y_true, y_pred: next(scores))
    checkpoint = train_toy(tmp_path, kind=kind, publish=published.extend, progress=seen.append)
    assert (checkpoint.epoch, checkpoint.score, checkpoint.step) == (2, 0.7, 8)
    assert published == read_metrics(checkpoint.metrics)
    keys = {metric.key for metric in published}
    assert {"train/loss", "their/loss", "validation/score", "validation/loss", "train/epoch"} <= keys
    assert (seen[-1].epoch, seen[-1].step, seen[-1].steps, seen[-1].score) == (3, 12, 12, 0.5)
    assert train_toy(tmp_path, kind=kind) == checkpoint, "it is not trained again"


def test_several_goals_have_a_target_each_by_their_outputs_and_one_loss(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 12)).astype("float32")
    rows = Samples({"x": x}, (x[:, 3] > 0).astype("int64"), (x[:, :2],))
    names: set[str] = set()

    def fit(module: nn.Module, training: Training) -> None:
        optimizer = torch.optim.Adam(module.parameters(), 0.02)
        for epoch in range(10):
            for batch in training.batches(epoch):
                names.update(batch.targets)
                optimizer.zero_grad()
                training.loss(module(**batch.inputs), batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            training.offer(module, epoch=epoch)

    kind = replace(both, fit=fit)
    checkpoint = trainer.fit(both.builder(None)(), rows, rows, FAST, tmp_path, workload=kind)  # type: ignore[call-arg]
    assert names == {"logits", "prediction"} and checkpoint.score > 0.8


def test_another_machine_goes_on_from_what_was_saved(tmp_path: Path) -> None:
    def kept(home: Path) -> dict[str, Any]:
        return {"store": ObjectStorage((tmp_path / "store").as_uri(), home)}

    whole = train_toy(tmp_path / "whole", kind=workload(fit=Loop()))
    with pytest.raises(Killed):
        train_toy(tmp_path / "a" / "t", kind=workload(fit=Loop(7)), **kept(tmp_path / "a"))
    steps: list[Progress] = []
    there = train_toy(
        tmp_path / "b" / "t", kind=workload(fit=Loop()), progress=steps.append, **kept(tmp_path / "b")
    )
    assert there.sha256 == whole.sha256 and min(progress.step for progress in steps) > 4


def test_a_file_or_a_folder_of_another_library_is_saved_whole_and_comes_back_by_its_path(
    tmp_path: Path,
) -> None:
    seen: list[Any] = []

    def fit(module: nn.Module, training: Training) -> None:
        path = training.resume()
        if path is not None:
            seen.append(
                {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}
                if path.is_dir()
                else path.read_bytes()
            )
        training.offer(module, epoch=0)
        folder = training.folder / "theirs" / "checkpoint-7"
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "a.bin").write_bytes(b"\x00\x01")
        (folder / "deep" / "b.json").write_text("{}")
        training.save(folder if path is None else folder / "a.bin", epoch=len(seen))
        if len(seen) < 2:
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            train_toy(tmp_path, kind=workload(fit=fit))
    train_toy(tmp_path, kind=workload(fit=fit))
    assert seen == [{"a.bin": b"\x00\x01", "b.json": b"{}"}, b"\x00\x01"]


def test_a_checkpoint_writes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    state = packed(tmp_path / "a")
    state["slipway.files"]["../out"] = torch.zeros(1, dtype=torch.uint8)
    with pytest.raises(StepError, match="names a file outside of its folder, ../out"):
        unpacked(state, tmp_path / "resumed")
    assert not (tmp_path / "out").exists()


def offering(module: nn.Module, training: Training) -> None:
    training.offer(nn.Sequential(module), epoch=0)


def saving(module: nn.Module, training: Training) -> None:
    training.save({"optimizer": torch.optim.SGD(module.parameters())}, epoch=0)


def losing(module: nn.Module, training: Training) -> None:
    for batch in training.batches(0):
        training.loss(module(**batch.inputs) * float("nan"), batch)


def exploding(module: nn.Module, training: Training) -> None:
    with torch.no_grad():
        next(module.parameters()).fill_(float("inf"))
    training.offer(module, epoch=0)


@pytest.mark.parametrize(
    ("fit", "error", "said"),
    [
        (lambda module, training: None, UserError, "its fit ended and has offered nothing: call training.offer"),
        (offering, UserError, "offers a Sequential that lacks layers.0.weight, layers.0.bias and 2 more and has 0.layers.0.weight"),
        (saving, UserError, r"its fit saves what cannot be read again \(.*\): save tensors, numbers and strings"),
        (lambda module, training: sys.exit(3), StepError, r"its fit ended the process \(exit code 3\)"),
        (losing, StepError, "The loss is nan at step 1 of 12: its rows and weights are finite"),
        (exploding, StepError, r"offers weights that are not finite \(layers.0.weight\): lower train.lr=0.01"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_it_is_said(fit: Fit, error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        train_toy(tmp_path, kind=workload(fit=fit))
    assert not list(tmp_path.rglob("last-*")), "nothing is left that the next try would stumble over"


def test_ctrl_c_stays_ctrl_c_though_the_fits_library_takes_it(tmp_path: Path) -> None:
    """As Lightning does: it ignores the next one, and exits."""

    def fit(module: nn.Module, training: Training) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise SystemExit(1)  # noqa: B904

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_toy(tmp_path, kind=workload(fit=fit))
    assert signal.getsignal(signal.SIGINT) == before


def test_batches_are_a_function_of_seed_and_epoch_whatever_was_drawn_before(tmp_path: Path) -> None:
    drawn: list[list[float]] = []

    def fit(module: nn.Module, training: Training) -> None:
        for epoch in (1, 0, 1):
            torch.rand(epoch + 1)
            rows = [batch.inputs["x"].sum().item() for batch in training.batches(epoch)]
            drawn.append([*rows, torch.rand(1).item()])
        loader = training.loader()
        loader.sampler.set_epoch(1)  # type: ignore[union-attr]
        rows = [batch.inputs["x"].sum().item() for batch in loader]
        drawn.append([*rows, torch.rand(1).item()])
        assert len(rows) == len(loader)
        training.offer(module, epoch=0)

    train_toy(tmp_path, kind=workload(fit=fit))
    assert drawn[0] == drawn[2] == drawn[3] != drawn[1]
    assert sum(drawn[0][:-1]) == pytest.approx(sum(drawn[1][:-1]), rel=1e-4)


def test_an_offer_leaves_the_module_in_the_mode_that_each_of_its_layers_was_in(tmp_path: Path) -> None:
    def fit(module: nn.Module, training: Training) -> None:
        module.train()
        module.get_submodule("layers.2").eval()
        training.offer(module, epoch=0)
        assert module.training and not module.get_submodule("layers.2").training

    train_toy(tmp_path, kind=workload(fit=fit))


def test_it_is_refused_beside_a_step_and_on_several_workers() -> None:
    with pytest.raises(UserError, match="names both step= and fit=: step is for Slipway's loop"):
        workload(fit=Loop(), step=lambda module, batch: module)
    with pytest.raises(UserError, match="train=None trains nothing, and fit= is a training: leave one out"):
        workload(fit=Loop(), train=None)
    run = workload(fit=Loop()).defaults()
    run = run.model_copy(update={"train": FAST.model_copy(update={"workers": 2})})
    with pytest.raises(UserError, match="train.workers=2 cannot be, for its fit is a loop of its own"):
        workload(fit=Loop()).check(run)
