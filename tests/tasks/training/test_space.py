"""A search's space against a workload: what cannot be searched in it is one sentence, before anything is trained."""

from dataclasses import replace
from typing import Any

import pytest
from toy_training import Net, workload

from tasks.compression.catalogue import check_run
from tasks.config import RunConfig, Search, Train
from tasks.errors import UserError
from tasks.training.space import own_point, with_point
from tasks.workloads.workload import Workload

RATES = {"train.lr": (1e-4, 1e-2, "log")}
MODELS = {"model": ("small", "wide")}


def two() -> Workload:
    return workload(model={"small": Net, "wide": Net})


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (
            {"space": {"model": ("small", "wider")}},
            "Workload toy has no model 'wider': choose one of small, wide.",
        ),
        ({"trainings": 20}, "search.trainings=20 is a budget of nothing, for search.space names no knob"),
        ({"training_minutes": 2}, "search.training_minutes=2.0 is a budget of nothing"),
        ({"seconds": 60}, "search.seconds=60 is a budget of nothing, for search.trials=0 tries no recipe"),
    ],
)
def test_a_search_that_cannot_work_is_said_in_a_sentence(search: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_run(two(), RunConfig(search=Search(**search)))
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_cpu_seconds_of_another_machines_processes_are_no_budget() -> None:
    """They would be read of this process, which waits, and such a search would hardly end."""
    search = Search(space=RATES, training_cpu_seconds=100)
    with pytest.raises(
        UserError, match="training_cpu_seconds=100 cannot be held with train.workers=2, whose"
    ):
        check_run(two(), RunConfig(train=Train(workers=2), search=search))
    check_run(two(), RunConfig(search=search))


def test_models_are_searched_where_they_have_names() -> None:
    check_run(two(), RunConfig(search=Search(space=MODELS)))
    with pytest.raises(UserError, match="Workload toy has one model without a name: leave out model=small"):
        check_run(workload(), RunConfig(search=Search(space=MODELS)))


def test_where_nothing_is_trained_nothing_is_searched() -> None:
    given = workload()
    object.__setattr__(given, "train", None)
    with pytest.raises(UserError, match="search.space cannot be, for workload toy trains nothing"):
        check_run(given, RunConfig(train=None, search=Search(space=RATES)))


def test_without_optuna_a_search_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.space.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"search.space needs Optuna: pip install 'slipway\[search\]'"):
        check_run(workload(), RunConfig(search=Search(space=RATES)))
    with pytest.raises(UserError, match="search.trials=3 needs Optuna"):
        check_run(workload(), RunConfig(search=Search(trials=3)))
    check_run(workload(), RunConfig())


def test_a_workloads_own_search_is_its_runs() -> None:
    own = Search(space=MODELS, trainings=7)
    assert replace(two(), search=own).defaults().search == own


def test_a_point_is_the_run_with_its_knobs_and_what_a_run_has_is_a_point() -> None:
    run = RunConfig(train=Train(lr=0.001, epochs=3), search=Search(space={**RATES, **MODELS}))
    assert own_point(run, "small") == {"model": "small", "train.lr": 0.001}
    assert own_point(run.model_copy(update={"train": Train(lr=1.0)}), "small") is None
    assert own_point(run, "narrow") is None
    chosen = with_point(run, {"model": "wide", "train.lr": 0.004})
    assert chosen.model == "wide" and chosen.train == Train(lr=0.004, epochs=3)
