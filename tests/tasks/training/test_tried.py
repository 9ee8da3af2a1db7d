"""A training of a search: what it sees, when it is ended, and what stays of it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkout import SUPPORT

from tasks.config import Data, Train
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.errors import StepError
from tasks.records import Dataset
from tasks.training.loop import Loop
from tasks.training.proposal import Proposal
from tasks.training.trainer import train
from tasks.training.tried import try_training, without_test
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


def test_a_search_comes_to_the_same_where_there_are_no_test_rows(dots: Dataset, tmp_path: Path) -> None:
    copy = shutil.copytree(dots.folder, tmp_path / "rows")
    shutil.rmtree(copy / "test")
    both = [
        try_training(DOTS, without_test(rows), proposal(), tmp_path / str(place))
        for place, rows in enumerate((dots, dots.model_copy(update={"folder": copy})))
    ]
    assert both[0].scores == both[1].scores and len(both[0].scores) == 4
    assert both[0].score == max(filter(None, both[0].scores)) and both[0].state == "finished"
    assert both[0].cpu_seconds > 0 and both[0].wall_seconds > 0


def test_what_ships_is_the_training_that_was_chosen_and_is_not_done_again(
    dots: Dataset, tmp_path: Path
) -> None:
    tried = try_training(DOTS, without_test(dots), proposal(), tmp_path)
    (folder,) = tmp_path.iterdir()
    before = (folder / "best.pt").stat().st_mtime_ns
    checkpoint = train(DOTS, dots, proposal().train, tmp_path)
    assert checkpoint.score == tried.score and checkpoint.path.stat().st_mtime_ns == before


def test_one_below_the_others_is_ended_and_nothing_of_it_stays(dots: Dataset, tmp_path: Path) -> None:
    seen = without_test(dots)
    tried = try_training(DOTS, seen, proposal(bar=(None, 1.1, 1.1)), tmp_path)
    assert tried.state == "ended early" and len(tried.scores) == 2
    assert tried.why.startswith("its best score after 2 epochs is 0.")
    assert [*tmp_path.iterdir()] == []
    whole = train(DOTS, dots, proposal().train, tmp_path)  # by hand, later, to its end
    assert whole.epoch and whole.stopped == "all 4 epochs are done"


def test_what_is_no_better_is_not_kept_unless_a_run_had_made_it(dots: Dataset, tmp_path: Path) -> None:
    made = train(DOTS, dots, proposal().train, tmp_path)
    other = Train.model_validate(proposal().train.model_dump() | {"lr": 0.02})
    for config in (proposal().train, other):
        assert try_training(DOTS, without_test(dots), proposal(best=1.0, train=config), tmp_path).score
    assert [*tmp_path.iterdir()] == [made.path.parent]


def test_a_training_that_diverges_has_failed_and_says_why(
    dots: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, seen = Loop._loss, without_test(dots)
    monkeypatch.setattr(Loop, "_loss", lambda self, batch: loss(self, batch) * torch.nan)
    tried = try_training(DOTS, seen, proposal(), tmp_path)
    assert tried.state == "failed" and tried.score is None and "The loss is nan at step 1" in tried.why


@pytest.mark.slow
def test_a_loop_of_ones_own_is_ended_when_it_offers(tmp_path: Path) -> None:
    reference = str(SUPPORT / "cases" / "own_fit.py")
    rows = without_test(prepare(reference, Data(), tmp_path / "rows"))
    tried = try_training(reference, rows, proposal(reference, bar=(1.1,)), tmp_path / "trainings")
    assert tried.state == "ended early" and len(tried.scores) == 1
