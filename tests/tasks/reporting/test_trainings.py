"""What a search tried, as a picture."""

from tasks.measured import Searched, TriedTraining
from tasks.reporting.trainings import picture


def tried(number: int, state: str = "finished") -> TriedTraining:
    scores = tuple(0.9 - 0.3**epoch - 0.01 * number for epoch in range(1, 4 if state == "finished" else 2))
    return TriedTraining(
        name=f"{number:03d}",
        knobs={"model": ("small", "wide")[number % 2], "train.lr": 10.0 ** -(1 + number % 4), "train.clip_norm": None},
        state=state,  # type: ignore[arg-type]
        why="it is over",
        scores=scores,
        score=None if state == "failed" else max(scores),
        cpu_seconds=1.0,
        wall_seconds=1.0,
    )  # fmt: skip


def test_every_training_is_in_the_picture_and_the_same_results_give_the_same_bytes() -> None:
    trainings = [tried(n) for n in range(6)] + [tried(6, "ended early"), tried(7, "failed")]
    searched = Searched(trainings=tuple(trainings), chosen="000", ended="8 were asked for")
    svg = picture(searched, "accuracy")
    assert svg == picture(searched, "accuracy")
    for words in ("chosen", "finished", "ended early", "best so far", "train.lr", "wide", "epoch"):
        assert f">{words}</text>" in svg


def test_a_single_training_is_a_picture_too() -> None:
    assert picture(Searched(trainings=(tried(0),), chosen="000", ended=""), "R²").startswith("<svg")


def test_what_came_to_its_end_ranks_before_what_did_not() -> None:
    early, low, failed = tried(0, "ended early"), tried(7), tried(1, "failed")
    assert sorted((low, failed, early), key=lambda each: each.rank, reverse=True) == [low, early, failed]
