"""A training of a search: what it sees, when it is ended, and what stays of it."""

import copy
import shutil
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from checkout import SUPPORT

from tasks.config import Data, RunConfig, Search, Train
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.errors import StepError, UserError
from tasks.records import Dataset
from tasks.system.imports import importing
from tasks.training.device import Compute
from tasks.training.loop import Loop
from tasks.training.proposal import Proposal
from tasks.training.trainer import train
from tasks.training.tried import check_points, try_training, without_test
from tasks.training.unfinished import NoRoomError, UnfinishedError
from tasks.workloads.catalogue import load_workload

DOTS = str(SUPPORT / "searched_dots.py")


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(DOTS, Data(), tmp_path_factory.mktemp("dots"))


def proposal(reference: str = DOTS, **fields: Any) -> Proposal:
    config = load_workload(reference).train
    assert config is not None
    given = {"study": "s", "name": "003", "knobs": {"train.lr": config.lr}, "model": None, "train": config}
    return Proposal.model_validate({**given, **fields})


def test_a_search_cannot_read_the_rows_that_judge(dots: Dataset, tmp_path: Path) -> None:
    seen = without_test(dots)
    for read in (read_split, read_frame):
        with pytest.raises(StepError, match="The test rows are not among those that this step may see"):
            read(seen, "test")
    with pytest.raises(StepError, match="A search sees no rows but those to train and those to choose by"):
        try_training(DOTS, dots, proposal(), tmp_path)


@pytest.mark.slow
def test_a_search_comes_to_the_same_where_there_are_no_test_rows(dots: Dataset, tmp_path: Path) -> None:
    copy = shutil.copytree(dots.folder, tmp_path / "rows")
    shutil.rmtree(copy / "test")
    both = [
        try_training(DOTS, without_test(rows), proposal(), tmp_path / str(place))
        for place, rows in enumerate((dots, dots.model_copy(update={"folder": copy})))
    ]
    assert both[0].scores == both[1].scores and len(both[0].scores) == 4
    assert both[0].score == max(filter(None, both[0].scores)) and both[0].state == "finished"
    assert both[0].cpu_seconds > 0 and both[0].wall_seconds > 0 and both[0].began > 1e9


@pytest.mark.slow
def test_what_ships_is_the_training_that_was_chosen_and_is_not_done_again(
    dots: Dataset, tmp_path: Path
) -> None:
    tried = try_training(DOTS, without_test(dots), proposal(), tmp_path)
    (folder,) = tmp_path.iterdir()
    before = (folder / "best.pt").stat().st_mtime_ns
    checkpoint = train(DOTS, dots, proposal().train, tmp_path)
    assert checkpoint.score == tried.score and checkpoint.path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_one_below_the_others_is_ended_and_nothing_of_it_stays(dots: Dataset, tmp_path: Path) -> None:
    seen = without_test(dots)
    tried = try_training(DOTS, seen, proposal(bar=(None, 1.1, 1.1)), tmp_path)
    assert tried.state == "ended early" and len(tried.scores) == 2
    assert tried.why.startswith("its best score after 2 epochs is 0.")
    assert [*tmp_path.iterdir()] == []
    whole = train(DOTS, dots, proposal().train, tmp_path)  # by hand, later, to its end
    assert whole.epoch and whole.stopped == "all 4 epochs are done"


@pytest.mark.slow
def test_one_that_was_killed_where_it_would_be_ended_is_ended_there_when_it_goes_on(
    dots: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = Train.model_validate(proposal().train.model_dump() | {"checkpoint_seconds": 0})
    given = DOTS, without_test(dots), proposal(bar=(None, 1.1, 1.1), train=often), tmp_path
    save = Loop._save

    def killed(self: Loop) -> None:
        save(self)
        if self.state.step == 2 * self.order.steps_an_epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Loop, "_save", killed)
        try_training(*given)
    tried = try_training(*given)
    assert tried.state == "ended early" and len(tried.scores) == 2


@pytest.mark.slow
def test_what_is_no_better_is_not_kept_unless_a_run_had_made_it(dots: Dataset, tmp_path: Path) -> None:
    made = train(DOTS, dots, proposal().train, tmp_path)
    other = Train.model_validate(proposal().train.model_dump() | {"lr": 0.02})
    for config in (proposal().train, other):
        assert try_training(DOTS, without_test(dots), proposal(best=1.0, train=config), tmp_path).score
    assert [*tmp_path.iterdir()] == [made.path.parent]


@pytest.mark.slow
def test_a_training_that_diverges_has_failed_and_says_why(
    dots: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, seen = Loop._loss, without_test(dots)
    monkeypatch.setattr(Loop, "_loss", lambda self, batch: loss(self, batch) * torch.nan)
    tried = try_training(DOTS, seen, proposal(), tmp_path)
    assert tried.state == "failed" and tried.score is None and "The loss is nan at step 1" in tried.why


@pytest.mark.slow
def test_a_training_that_a_gpu_does_not_hold_has_failed_and_leaves_the_memory_to_the_next(
    dots: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU that says it is one."""
    loops: list[weakref.ref[Loop]] = []

    def backward(self: Loop, step: int) -> torch.Tensor:
        loops.append(weakref.ref(self))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def exact(self: Compute) -> Any:
        gpu = copy.copy(self)
        gpu.device = torch.device("cuda")
        return guarded(gpu)

    guarded = Compute.exact
    monkeypatch.setattr(Compute, "exact", exact)
    monkeypatch.setattr(Compute, "_no_room", lambda self: NoRoomError("The memory does not hold a batch."))
    with monkeypatch.context() as patch, importing():
        patch.setattr(Loop, "_backward", backward)
        tried = try_training(DOTS, without_test(dots), proposal(), tmp_path)
        assert [loop() for loop in loops] == [None]
    assert (tried.state, tried.why, tried.score) == ("failed", "The memory does not hold a batch.", None)
    assert [*tmp_path.iterdir()] == []
    assert try_training(DOTS, without_test(dots), proposal(), tmp_path).state == "finished"


@pytest.mark.parametrize(
    "others, says, kept",
    [(1, "does not hold a batch: set", True), (60, "Others have 60 of the 80 GB", False)],
)
def test_memory_that_others_have_at_the_moment_is_no_result_of_a_training_on_a_gpu_that_is_faked(
    monkeypatch: pytest.MonkeyPatch, others: int, says: str, kept: bool
) -> None:
    """What is raised otherwise is kept as the training's, and never tried again."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: (75 - others) * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    error = Compute(Train())._no_room()
    assert says in str(error) and isinstance(error, UnfinishedError) == kept


@pytest.mark.slow
def test_a_loop_of_ones_own_is_ended_when_it_offers(tmp_path: Path) -> None:
    reference = str(SUPPORT / "cases" / "own_fit.py")
    rows = without_test(prepare(reference, Data(), tmp_path / "rows"))
    tried = try_training(reference, rows, proposal(reference, bar=(1.1,)), tmp_path / "trainings")
    assert tried.state == "ended early" and len(tried.scores) == 1


def test_groups_that_fit_no_weight_of_a_model_of_the_space_are_said_before_the_first_training(
    dots: Dataset,
) -> None:
    """The wide model's weights are `layers.0.weight` and so on; the small one's have other names."""
    workload, groups = load_workload(DOTS), [{"weights": "layers.0.*", "share": 0.1}]
    assert workload.train is not None
    grouped = Train.model_validate({**workload.train.model_dump(), "groups": groups})

    def check(space: dict[str, Any], train: Train | None = workload.train, model: str | None = None) -> None:
        search = Search.model_validate({"space": space})
        check_points(workload, dots, RunConfig(train=train, model=model, search=search))

    check({"train.groups": ([], groups)}, model="wide")
    check({"train.lr": (0.001, 0.1, "log")}, grouped, "wide")
    for given in (
        {"space": {"train.groups": ([], groups)}},  # of the first model, which is the small one
        {"space": {"train.groups": ([], groups), "model": ("wide", "small")}},
        {"space": {"model": ("wide", "small")}, "train": grouped},
    ):
        with pytest.raises(UserError, match=r"train.groups: no weight is called 'layers.0.\*'"):
            check(**given)  # type: ignore[arg-type]
