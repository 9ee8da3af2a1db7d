"""The search over a landscape that is computed: what it proposes, when it ends, what it ends early; and that it repeats itself."""

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import RunConfig, Search, Train
from tasks.errors import StepError
from tasks.measured import Searched, TriedTraining
from tasks.training.proposal import Proposal
from tasks.training.study import AT_ONCE, Study, bar_of
from tasks.training.unfinished import EndedEarlyError, check_bar

SPACE = {"train.lr": (1e-4, 1.0, "log"), "train.batch_size": (32, 64, 128), "model": ("small", "wide")}


def run(**search: Any) -> RunConfig:
    given = {"space": SPACE, **search}
    return RunConfig(search=Search(**given), train=Train(epochs=8, lr=0.5, batch_size=64))


def tried(proposal: Proposal, seconds: float = 1.0) -> TriedTraining:
    """Best at 0.01, wide and 32; learned over eight epochs, and ended where the bar says so."""
    knobs = proposal.knobs
    top = 0.9 - 0.1 * abs(math.log10(knobs.get("train.lr", 0.01)) + 2) + 0.05 * (knobs.get("model") == "wide")
    top -= 0.02 * (knobs.get("train.batch_size", 32) != 32)
    scores: list[float] = []
    state = "finished"
    for epoch in range(1, proposal.train.epochs + 1):
        scores.append(top * (1 - 0.5**epoch))
        try:
            check_bar(proposal.bar, epoch, max(scores))
        except EndedEarlyError:
            state = "ended early"
            break
    return TriedTraining(
        name=proposal.name,
        knobs=knobs,
        state=state,  # type: ignore[arg-type]
        why="",
        scores=tuple(scores),
        score=max(scores),
        cpu_seconds=seconds,
        wall_seconds=seconds,
    )


def searched(
    config: RunConfig,
    at_once: int = 1,
    result: Callable[[Proposal], TriedTraining] = tried,
    proposals: list[Proposal] | None = None,
) -> Searched:
    """As flows/trainings.py goes through a study."""
    study = Study(config, "study", "small")
    while round_ := study.propose():
        if proposals is not None:
            proposals += round_
        while round_ and not study.out_of_time():
            part, round_ = round_[:at_once], round_[at_once:]
            study.tell([result(proposal) for proposal in part])
    return study.searched()


def test_a_search_begins_with_what_the_workload_has_and_ends_with_better() -> None:
    result = searched(run(trainings=24))
    first = result.trainings[0]
    assert first.knobs == {"model": "small", "train.batch_size": 64, "train.lr": 0.5}
    assert first.score is not None and result.choice.score is not None
    assert result.choice.score > first.score + 0.1 and result.choice.knobs["model"] == "wide"
    assert result.choice.score == max(each.score or 0 for each in result.trainings)
    assert len(result.trainings) == 24 and result.ended == "24 were asked for"
    assert result.count("ended early") > 0 and result.count("finished") >= 5


def test_no_point_is_tried_twice_and_numbers_have_four_digits() -> None:
    points = [str(each.knobs) for each in searched(run(trainings=30)).trainings]
    assert len(set(points)) == 30
    rates = [each.knobs["train.lr"] for each in searched(run(trainings=30)).trainings]
    assert all(1e-4 <= rate <= 1 and float(f"{rate:.4g}") == rate for rate in rates)


def test_what_the_workload_has_is_tried_to_its_last_digit() -> None:
    """Else it would be another training than the one that its run has made or makes."""
    config = run(trainings=5).model_copy(update={"train": Train(epochs=8, lr=0.0123456789, batch_size=64)})
    assert searched(config).trainings[0].knobs["train.lr"] == 0.0123456789


@settings(max_examples=8)
@given(seed=st.integers(0, 99), first=st.integers(1, 12), more=st.integers(1, 9), at_once=st.integers(1, 5))
def test_a_search_that_goes_on_is_the_one_that_was_never_ended(
    seed: int, first: int, more: int, at_once: int
) -> None:
    """Told again what it came to, it proposes what comes after; and so on one machine as on a cluster."""
    before = searched(run(trainings=first, seed=seed), at_once)
    whole = searched(run(trainings=first + more, seed=seed))
    assert whole.trainings[:first] == before.trainings


def test_another_seed_tries_others() -> None:
    one, other = (searched(run(trainings=6, seed=seed)) for seed in (0, 1))
    assert one.trainings[0] == other.trainings[0]
    assert not {str(each.knobs) for each in one.trainings[1:]} & {
        str(each.knobs) for each in other.trainings[1:]
    }


def test_a_round_is_proposed_before_any_of_it_has_ended() -> None:
    study = Study(run(trainings=AT_ONCE + 2), "study", "small")
    assert [len(study.propose()), len(study.propose())] == [AT_ONCE, 2]


@pytest.mark.parametrize(
    ("budget", "count"),
    [({"training_minutes": 1}, 3), ({"training_cpu_seconds": 100}, 5), ({"trainings": 2, "training_minutes": 9}, 2)],
)  # fmt: skip
def test_the_budget_ends_a_search(budget: dict[str, float], count: int) -> None:
    result = searched(run(**budget), result=lambda proposal: tried(proposal, seconds=20.0))
    assert len(result.trainings) == count


def test_minutes_are_those_of_the_longest_of_what_went_on_side_by_side() -> None:
    result = searched(run(training_minutes=1), at_once=4, result=lambda each: tried(each, seconds=31.0))
    assert len(result.trainings) == 8 and result.ended == "1 minutes were up"


def test_minutes_are_all_of_those_that_a_cluster_of_one_machine_had_one_after_another() -> None:
    def result(proposal: Proposal) -> TriedTraining:
        began = 1e9 + 16.0 * int(proposal.name)  # waits for the one before
        return tried(proposal, seconds=16.0).model_copy(update={"began": began})

    outcome = searched(run(training_minutes=1), at_once=4, result=result)
    assert len(outcome.trainings) == 4 and outcome.ended == "1 minutes were up"


def test_where_every_point_was_tried_a_search_ends_before_its_budget() -> None:
    space = {"train.batch_size": (16, 32), "train.epochs": (2, 4, "linear")}
    result = searched(run(space=space, trainings=50))
    points = [(each.knobs["train.batch_size"], each.knobs["train.epochs"]) for each in result.trainings]
    assert sorted(points) == [*itertools.product((16, 32), (2, 3, 4))]
    assert result.ended == "all 6 points of the space were tried"


def test_a_training_that_fails_counts_and_is_not_chosen() -> None:
    def result(proposal: Proposal) -> TriedTraining:
        made = tried(proposal)
        fails = int(proposal.name) % 2 == 1
        return made.model_copy(update={"state": "failed", "score": None}) if fails else made

    outcome = searched(run(trainings=10), result=result)
    assert outcome.count("failed") == 5 and outcome.choice.state == "finished"
    assert outcome.sentence.startswith("the best of 10 trainings by validation rows")


def test_a_search_of_which_nothing_came_says_why() -> None:
    failed = TriedTraining(
        name="000", knobs={}, state="failed", why="The loss is nan.", scores=(), score=None, cpu_seconds=1, wall_seconds=1
    )  # fmt: skip
    with pytest.raises(StepError, match="None of the 4 trainings of search.space came to an end: The loss"):
        searched(run(trainings=4), result=lambda proposal: failed)


def test_nothing_is_ended_in_the_first_quarter_of_its_epochs_or_before_five_are_finished() -> None:
    proposals: list[Proposal] = []
    searched(run(trainings=16), proposals=proposals)
    assert all(proposal.bar == () for proposal in proposals[:AT_ONCE])
    late = [proposal.bar for proposal in proposals if proposal.bar]
    assert late and all(bar[:2] == (None, None) and None not in bar[2:] for bar in late)


scores = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@settings(max_examples=60)
@given(st.lists(scores, min_size=1, max_size=9), scores)
def test_a_training_is_ended_where_optunas_median_pruner_would_end_it(
    before: list[list[float]], curve: list[float]
) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    )
    records = []
    for each in before:
        values = dict(enumerate(each, 1))
        study.add_trial(optuna.trial.create_trial(value=max(each), intermediate_values=values))
        records.append(
            TriedTraining(
                name="", knobs={}, state="finished", why="", scores=tuple(each), score=max(each), cpu_seconds=0, wall_seconds=0
            )
        )  # fmt: skip
    trial, bar = study.ask(), bar_of(records)
    for epoch, score in enumerate(curve, 1):
        trial.report(score, epoch)
        with pytest.raises(EndedEarlyError) if trial.should_prune() else nullcontext():
            check_bar(bar, epoch, max(curve[:epoch]))
