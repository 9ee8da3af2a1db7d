"""The knobs that a search over trainings turns, as points: which run a point stands for, and what cannot be searched."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tasks.config import RunConfig, Search, Train, is_range, kind_of
from tasks.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from tasks.workloads.workload import Workload

_BUDGET = ("trainings", "training_minutes", "training_cpu_seconds")

_DIGITS = 4
"""Of a number in a range: more would be read by nobody, and change nothing."""


def check_search(workload: "Workload", run: RunConfig) -> None:
    """Raise UserError for a search that cannot work for this workload, or in this environment."""
    search = run.search
    if search.space:
        _check_space(workload, run)
    elif asked := [name for name in _BUDGET if getattr(search, name) is not None]:
        value = getattr(search, asked[0])
        raise UserError(
            f"search.{asked[0]}={value} is a budget of nothing, for search.space names no knob: set that too, such as "
            "search.space={train.lr: [0.0001, 0.01, log]}, or leave it out."
        )
    if search.seconds is not None and not search.trials:
        raise UserError(
            f"search.seconds={search.seconds:g} is a budget of nothing, for search.trials=0 tries no recipe: set that too, such as "
            "search.trials=20, or leave it out."
        )
    needs = "search.space" if search.space else f"search.trials={search.trials}" if search.trials else ""
    if needs and find_spec("optuna") is None:
        raise UserError(f"{needs} needs Optuna: pip install 'slipway[search]'.")


def _check_space(workload: "Workload", run: RunConfig) -> None:
    if run.train is None:
        raise UserError(
            f"search.space cannot be, for workload {workload.name} trains nothing (train=None): leave it out."
        )
    if run.search.training_cpu_seconds is not None and run.train.workers > 1:
        raise UserError(
            f"search.training_cpu_seconds={run.search.training_cpu_seconds:g} cannot be held with train.workers={run.train.workers}, whose "
            "processes are a cluster's: set search.training_minutes instead."
        )
    for name in run.search.space.get("model", ()):
        workload.builder(name)  # which says what there is instead


def budget_of(search: Search) -> int | None:
    """Trainings to try at most; None: what the time allows."""
    limited = search.training_minutes is not None or search.training_cpu_seconds is not None
    return search.trainings or (None if limited else 20)


def own_point(run: RunConfig, first: str | None) -> dict[str, Any] | None:
    """What the run has by itself, if that is in the space; `first`: which of the models it is, where it says none."""
    assert run.train is not None
    knobs = run.train.model_dump(mode="json")
    point = {}
    for name, values in run.search.space.items():
        value = (run.model or first) if name == "model" else knobs[name.removeprefix("train.")]
        if is_range(name, values):
            if value is None or not values[0] <= value <= values[1]:
                return None
        elif value not in values:
            return None
        point[name] = value
    return point


def with_point(run: RunConfig, point: Mapping[str, Any]) -> RunConfig:
    """The run that a point of its space stands for."""
    assert run.train is not None
    knobs = {name.removeprefix("train."): value for name, value in point.items() if name != "model"}
    train = Train.model_validate({**run.train.model_dump(), **knobs})
    return run.model_copy(update={"train": train, "model": point.get("model", run.model)})


def distributions(search: Search) -> dict[str, "BaseDistribution"]:
    """The space as Optuna has it: a range as it is, a choice by its place, for a value may be a mapping."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, BaseDistribution] = {}
    for name, values in search.space.items():
        if is_range(name, values):
            low, high, scale = values
            kind = IntDistribution if kind_of(name) is int else FloatDistribution
            made[name] = kind(low, high, log=scale == "log")
        else:
            made[name] = CategoricalDistribution(range(len(values)))
    return made


def point_of(search: Search, params: Mapping[str, Any]) -> dict[str, Any]:
    """The point of what Optuna draws; numbers of a range with four digits, within it."""
    point = {}
    for name, values in search.space.items():
        value = params[name]
        if not is_range(name, values):
            value = values[value]
        elif kind_of(name) is float:
            value = min(max(float(f"{value:.{_DIGITS}g}"), values[0]), values[1])
        point[name] = value
    return point


def params_of(search: Search, point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as Optuna takes it."""
    return {
        name: point[name] if is_range(name, values) else values.index(point[name])
        for name, values in search.space.items()
    }


def points_in(search: Search) -> int | None:
    """How many points there are; None where a number may be any in a range."""
    count = 1
    for name, values in search.space.items():
        if not is_range(name, values):
            count *= len(values)
        elif kind_of(name) is int:
            count *= values[1] - values[0] + 1
        else:
            return None
    return count
