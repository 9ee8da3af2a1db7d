"""Training: it learns, it repeats itself to the bit, it stops and resumes anywhere, and it says what went wrong."""

import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkout import BENCH
from hypothesis import given, settings
from hypothesis import strategies as st
from predicting import predict
from torch import nn
from toy_training import EVERY_STEP, FAST, Killed, Net, clouds, computed, killed_at, train_toy, workload

from tasks.config import Data, Train
from tasks.data.arrays import Samples
from tasks.data.dataset import prepare
from tasks.errors import StepError, UserError
from tasks.goals import Rank
from tasks.goals.losses import listwise
from tasks.records import Checkpoint, Dataset, Metric
from tasks.training.batches import Batch
from tasks.training.checkpoint import load, load_weights
from tasks.training.loss import DistillationLoss
from tasks.training.metrics import read_metrics
from tasks.training.module import load_module
from tasks.training.progress import Progress
from tasks.training.trainer import fit, train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.rows import Rows
from tasks.workloads.scoring import score

TINY = str(BENCH / "tiny_digits.py")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(TINY, Data(), tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_digits_are_learned_and_come_back_from_the_checkpoint(dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = train(TINY, dataset, Train(epochs=6, lr=0.01, threads=1), tmp_path)
    tiny_digits = load_workload(TINY)
    validation = Samples(*_split(dataset, "validation"))
    outputs = predict(load_module(tiny_digits, dataset, checkpoint), validation.inputs)
    assert checkpoint.score > 0.93
    assert score(tiny_digits, validation.target, outputs) == checkpoint.score


def _split(dataset: Dataset, name: str) -> tuple[dict[str, Any], Any]:
    folder = dataset.folder / name
    return {"image": np.load(folder / "image.npy")}, np.load(folder / "target.npy")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "momentum", "adagrad"])
def test_every_optimizer_learns(optimizer: str, tmp_path: Path) -> None:
    config = FAST.model_copy(
        update={"optimizer": optimizer, "lr": 0.4 if optimizer == "sgd" else 0.05, "epochs": 6}
    )
    checkpoint = train_toy(tmp_path, config)
    losses = [metric.value for metric in read_metrics(checkpoint.metrics) if metric.key == "train/loss"]
    assert checkpoint.score > 0.8
    assert np.mean(losses[-3:]) < 0.7 * losses[0]


def test_a_regression_learns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype("float32")
    rows = Samples({"x": x}, (x @ [1.0, -2.0, 0.5, 0.0]).astype("float32"))
    config = FAST.model_copy(update={"lr": 0.05, "epochs": 20})
    checkpoint = fit(Net(1), rows, rows, config, tmp_path, workload=workload("regression"))
    assert checkpoint.score > 0.8


def test_one_logit_learns_two_classes(tmp_path: Path) -> None:
    rows = clouds(300)
    binary = Samples(rows.inputs, (rows.target == 0).astype("int64"))
    config = FAST.model_copy(update={"lr": 0.05, "epochs": 6})
    assert fit(Net(1), binary, binary, config, tmp_path, workload=workload()).score > 0.8


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, second = train_toy(tmp_path / "a"), train_toy(tmp_path / "b")
    assert first.path != second.path
    assert first.sha256 == second.sha256
    assert train_toy(tmp_path / "c", FAST.model_copy(update={"seed": 1})).sha256 != first.sha256


def test_mapped_and_in_memory_rows_train_alike(tmp_path: Path) -> None:
    rows = clouds(200)
    np.save(tmp_path / "x.npy", rows.inputs["x"])
    mapped = Samples({"x": np.load(tmp_path / "x.npy", mmap_mode="r")}, rows.target)
    assert train_toy(tmp_path / "a", rows=mapped).sha256 == train_toy(tmp_path / "b", rows=rows).sha256


def mixed_up(module: nn.Module, batch: Batch) -> torch.Tensor:
    """Mixup (arXiv:1710.09412): a step whose loss hangs on random numbers of three libraries."""
    share = random.uniform(0.5, 1)
    other = torch.from_numpy(np.random.permutation(len(batch)))
    (target,) = batch.targets.values()
    outputs = module(batch.inputs["x"].lerp(batch.inputs["x"][other], 1 - share) + 0.1 * torch.randn(4))
    losses = [nn.functional.cross_entropy(outputs, rows) for rows in (target, target[other])]
    return share * losses[0] + (1 - share) * losses[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("knobs", "fields"),
    [
        ({}, {}),
        ({"average": 0.8, "accumulate": 2, "batch_size": 25, "groups": {"layers.0.*": 0.1, "*.bias": 0}}, {}),
        ({}, {"step": mixed_up}),
    ],
    ids=["plain", "knobs", "step"],
)
def test_a_training_stopped_at_every_single_step_ends_as_if_it_had_not_been(
    knobs: dict[str, Any], fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.progress.SHOW_SECONDS", 0)
    config = Train.model_validate({**EVERY_STEP.model_dump(), **knobs})
    options: dict[str, Any] = {"config": config, "kind": workload(**fields)}
    whole = train_toy(tmp_path / "whole", **options)
    assert fields or knobs or whole.stopped == "no better validation score for 2 epochs"
    last = max(metric.step for metric in read_metrics(whole.metrics))
    for step in range(1, last):
        with pytest.raises(Killed):
            train_toy(tmp_path / "killed", **options, progress=killed_at(step))
    resumed = train_toy(tmp_path / "killed", **options)
    assert resumed.sha256 == whole.sha256
    assert computed(resumed) == computed(whole)
    assert resumed.model_dump(include={"epoch", "step", "score", "stopped"}) == whole.model_dump(
        include={"epoch", "step", "score", "stopped"}
    )


@pytest.mark.slow
def test_a_ranking_learns_from_whole_queries_and_resumes_to_the_bit(tmp_path: Path) -> None:
    toy = workload(
        kind=None, target=None, goal=Rank("gain", query="query"), rows=Rows(group="query"), step=whole_queries
    )
    clusters, queries = clouds(200), np.random.default_rng(3).integers(0, 40, 200)
    rows = Samples(clusters.inputs, np.stack([clusters.target, queries], 1).astype("float64"))
    config = EVERY_STEP.model_copy(update={"batch_size": 12, "accumulate": 2})

    def trained(folder: Path, show: Callable[[Progress], None] | None = None) -> Checkpoint:
        torch.manual_seed(0)
        return fit(Net(1), rows, rows, config, folder, workload=toy, progress=show)

    whole = trained(tmp_path / "whole")
    assert whole.score > 0.9
    for step in (1, 7, 30):
        with pytest.raises(Killed):
            trained(tmp_path / "killed", killed_at(step))
    assert trained(tmp_path / "killed").sha256 == whole.sha256


def whole_queries(module: nn.Module, batch: Batch) -> torch.Tensor:
    """The loss of a ranking, of batches in which no query of the rows above is torn."""
    target = batch.targets["score"]
    sizes = np.bincount(np.random.default_rng(3).integers(0, 40, 200))
    numbers, counts = np.unique(target[:, 1].numpy(), return_counts=True)
    assert counts.tolist() == sizes[numbers.astype(int)].tolist()
    return listwise(module(**batch.inputs), target)


class Scored(Net):
    """A weight whose name is also a word in the checkpoint: pickle would refer to it, if it were the same string."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.score


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(rows=st.integers(2, 90), batch=st.integers(1, 12), accumulate=st.integers(2, 5), clip=st.booleans())
def test_batches_that_are_added_up_make_the_step_of_one_large_batch(
    rows: int, batch: int, accumulate: int, clip: bool
) -> None:
    config = Train(
        epochs=1,
        lr=0.1,
        optimizer="sgd",
        batch_size=batch * accumulate,
        threads=1,
        clip_norm=1.0 if clip else None,
    )
    added = config.model_copy(update={"batch_size": batch, "accumulate": accumulate})
    weights = []
    for knobs in (config, added):
        torch.manual_seed(0)
        module = Linear()
        with tempfile.TemporaryDirectory() as folder:
            train_toy(Path(folder), knobs, module=module, rows=clouds(rows))
        weights.append(module.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-6)


class Linear(Net):
    """Without dropout, of which two small batches draw otherwise than a large one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[2] = nn.Identity()


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda module, batch: 0.5, "its step gives a float: return one number as a tensor"),
        (
            lambda module, batch: module(**batch.inputs),
            r"its step gives a tensor \[64, 3\]: return one number",
        ),
    ],
)
def test_a_step_that_gives_no_loss_is_refused(step: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        train_toy(tmp_path, kind=workload(step=step))


def test_a_step_is_what_is_learned_and_a_teacher_has_its_share_in_it(tmp_path: Path) -> None:
    """Its targets are those of the next class; the teacher, untrained, keeps it from them."""

    def shifted(module: nn.Module, batch: Batch) -> torch.Tensor:
        (target,) = batch.targets.values()
        return nn.functional.cross_entropy(module(**batch.inputs), (target + 1) % 3)

    config = FAST.model_copy(update={"epochs": 8, "lr": 0.05})
    alone = train_toy(tmp_path / "alone", config, kind=workload(step=shifted))
    assert alone.score < 0.3
    taught = DistillationLoss(workload(), Net().eval(), temperature=1.0, weight=1.0)
    module = Net()
    with_teacher = train_toy(
        tmp_path / "taught", config, kind=workload(step=shifted), distillation=taught, module=module
    )
    assert with_teacher.sha256 != alone.sha256
    inputs = clouds(50).inputs
    agree = predict(module, inputs).argmax(1) == predict(taught.teacher, inputs).argmax(1)
    assert agree.mean() > 0.7


def test_names_of_weights_do_not_change_the_bytes_of_a_resumed_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.progress.SHOW_SECONDS", 0)

    def run(folder: Path, **options: Any) -> Checkpoint:
        torch.manual_seed(0)
        return train_toy(folder, EVERY_STEP, module=Scored(), **options)

    whole = run(tmp_path / "whole")
    after_the_best = killed_at(whole.step + 1)
    with pytest.raises(Killed):
        run(tmp_path / "killed", progress=after_the_best)
    assert run(tmp_path / "killed").sha256 == whole.sha256


def test_a_torn_checkpoint_costs_time_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.training.progress.SHOW_SECONDS", 0)
    whole = train_toy(tmp_path / "whole", EVERY_STEP)
    with pytest.raises(Killed):
        train_toy(tmp_path / "killed", EVERY_STEP, progress=killed_at(7))
    newest = max((tmp_path / "killed").glob("*/last-*.pt"))
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = train_toy(tmp_path / "killed", EVERY_STEP)
    assert (resumed.sha256, computed(resumed)) == (whole.sha256, computed(whole))
    assert "is torn or altered" in caplog.text


def test_a_finished_training_returns_at_once_and_publishes_its_curves_again(tmp_path: Path) -> None:
    first = train_toy(tmp_path)
    published: list[Metric] = []
    steps: list[Progress] = []
    assert train_toy(tmp_path, publish=published.extend, progress=steps.append) == first
    assert published == read_metrics(first.metrics)
    assert steps == []


def test_an_altered_best_file_is_written_again_from_the_last_state(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train_toy(tmp_path)
    first.path.write_bytes(b"altered")
    assert train_toy(tmp_path) == first
    assert load_weights(first)
    assert "best.pt is torn or altered" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"config": FAST.model_copy(update={"lr": 0.02})},
        lambda: {"rows": clouds(200, seed=5)},
        lambda: {"module": Net()},
    ],
    ids=["knobs", "rows", "weights"],
)
def test_another_configuration_starts_anew_and_leaves_the_first_alone(
    tmp_path: Path, change: Callable[[], dict[str, Any]]
) -> None:
    first = train_toy(tmp_path)
    torch.manual_seed(99)
    other = train_toy(tmp_path, **{**change(), "progress": (seen := []).append})
    assert other.path != first.path
    assert seen[-1].step == seen[-1].steps
    assert train_toy(tmp_path) == first


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    scores = iter([0.1, 0.5, 0.3, 0.4, 0.9])
    scored = workload(score=lambda y_true, y_pred: next(scores))
    checkpoint = train_toy(tmp_path, FAST.model_copy(update={"patience": 2, "epochs": 9}), kind=scored)
    assert (checkpoint.epoch, checkpoint.score) == (2, 0.5)
    assert checkpoint.stopped == "no better validation score for 2 epochs"
    last = load(max(checkpoint.path.parent.glob("last-*.pt")))["module"]
    assert not torch.equal(load_weights(checkpoint)["layers.0.weight"], last["layers.0.weight"])


def test_a_score_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    scores = iter([float("nan"), 0.2, float("nan")])
    checkpoint = train_toy(tmp_path, kind=workload(score=lambda y_true, y_pred: next(scores)))
    assert (checkpoint.epoch, checkpoint.score, checkpoint.stopped) == (2, 0.2, "all 3 epochs are done")


def test_a_student_learns_from_its_teacher(tmp_path: Path) -> None:
    """The target is wrong in every row; only the teacher knows better."""
    rows = clouds(300)
    teacher = Net()
    good = train_toy(tmp_path / "teacher", FAST.model_copy(update={"epochs": 8, "lr": 0.05}), rows=rows)
    teacher.load_state_dict(load_weights(good))
    wrong = Samples(rows.inputs, (rows.target + 1) % 3)
    config = FAST.model_copy(update={"epochs": 8, "lr": 0.05})
    taught = DistillationLoss(workload(), teacher, temperature=4.0, weight=0.9)
    student = train_toy(tmp_path / "student", config, rows=wrong, distillation=taught)
    assert student.score > 0.8
    assert train_toy(tmp_path / "alone", config, rows=wrong).score < 0.4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_and_keeps_float32_weights(precision: str, tmp_path: Path) -> None:
    config = FAST.model_copy(update={"precision": precision, "lr": 0.05, "epochs": 6})
    checkpoint = train_toy(tmp_path, config)
    assert checkpoint.score > 0.8
    assert checkpoint.sha256 != train_toy(tmp_path, config.model_copy(update={"precision": "fp32"})).sha256
    assert {value.dtype for value in load_weights(checkpoint).values()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="train.device=cuda, but torch sees no such device here: use auto or cpu"
    ):
        train_toy(tmp_path, FAST.model_copy(update={"device": "cuda"}))


def with_nan(rows: Samples) -> Samples:
    rows.inputs["x"][17, 2] = np.nan
    return rows


def infinite(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (outputs * 0).log().mean() * -1


def root(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Finite, with a gradient that is not."""
    return (outputs * 0).abs().sqrt().mean() + nn.functional.cross_entropy(outputs, target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            lambda: {"rows": with_nan(clouds(200))},
            r"The loss is nan at step \d of 12: input 'x' is nan in row 17 of the training split at \[2\]; clean it",
        ),
        (
            lambda: {
                "config": FAST.model_copy(
                    update={"lr": 10, "optimizer": "sgd", "clip_norm": None, "warmup": 0.0}
                )
            },
            r"The loss is (nan|inf) at step \d+ of 12: the (loss|weights) had .*grown .* so the learning rate is too high; "
            r"lower train.lr=\d",
        ),
        (
            lambda: {"kind": workload(loss=infinite)},
            r"at step 1 of 12: its rows and weights are finite; look for log\(0\)",
        ),
        (
            lambda: {"kind": workload(loss=root)},
            "at step 2 of 12: the update before it made the weights NaN; look for a square",
        ),
    ],
    ids=["rows", "learning rate", "loss", "gradient"],
)
def test_a_loss_that_is_not_finite_is_explained(
    options: Callable[[], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    given = options()
    if "config" in given:
        given |= {"kind": workload("regression"), "module": Net(1)}
        given["rows"] = Samples(clouds(200).inputs, 100 * clouds(200).target.astype("float32"))
    with pytest.raises(StepError, match=message) as caught:
        train_toy(tmp_path, **given)
    assert "\n" not in str(caught.value)


def test_metrics_are_published_while_training_and_a_lost_server_does_not_stop_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Sequence[Metric]] = []

    def flaky(batch: Sequence[Metric]) -> None:
        calls.append(batch)
        if len(calls) == 1:
            raise ConnectionError("server is away")

    checkpoint = train_toy(tmp_path, publish=flaky)
    assert [metric for batch in calls[1:] for metric in batch] == read_metrics(checkpoint.metrics)
    keys = {metric.key for metric in read_metrics(checkpoint.metrics)}
    assert {"train/loss", "train/lr", "validation/loss", "validation/score"} < keys
    assert any(key.startswith("system/") for key in keys)


def test_progress_counts_up_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.progress.SHOW_SECONDS", 0)
    seen: list[Progress] = []
    train_toy(tmp_path, progress=seen.append)
    assert [progress.step for progress in seen if progress.score is None] == [1, 2, 3, 4]
    assert (seen[-1].epoch, seen[-1].step, seen[-1].steps) == (3, 12, 12)
    assert all(progress.rows_per_second > 0 for progress in seen)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    from filelock import FileLock

    first = train_toy(tmp_path)
    with (
        FileLock(first.path.parent / "lock"),
        pytest.raises(StepError, match="Another process is training in"),
    ):
        train_toy(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepError, match=f"Checkpoints cannot be kept in {tmp_path}/file/.*: Not a directory"):
        train_toy(tmp_path / "file")


def test_two_trainings_at_once_do_not_disturb_each_others_random_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.progress.SHOW_SECONDS", 0)
    alone = train_toy(tmp_path / "alone")
    torch.manual_seed(FAST.seed)
    modules = {"first": Net()}
    torch.manual_seed(FAST.seed)
    modules["second"] = Net()
    digests: dict[str, str] = {}

    def run(name: str, show: Callable[[Progress], None] | None = None) -> None:
        rows = clouds(200), clouds(100, 1)
        checkpoint = fit(modules[name], *rows, FAST, tmp_path / name, workload=workload(), progress=show)
        digests[name] = checkpoint.sha256

    second = threading.Thread(target=run, args=["second"])
    run("first", lambda progress: second.start() if progress.step == 3 else None)
    second.join()
    assert digests == {"first": alone.sha256, "second": alone.sha256}


@pytest.mark.slow
def test_importing_the_training_loads_neither_prefect_nor_mlflow() -> None:
    code = "import sys, tasks.training.trainer; print([name for name in ('prefect', 'mlflow') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
