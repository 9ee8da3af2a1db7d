"""Looks for better recipes: Optuna proposes, each proposal is a candidate like any other, and what is known stays on disk."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tasks.config import Gates, Search
from tasks.measured import Report, latency
from tasks.recipes import Prune, Recipe, Step

_CLEARLY = 3.0
"""A lighter recipe that lost this many times the allowed score makes a heavier one not worth its training."""

_PREFIX = "search-"


class Study:
    """Three objectives: score up, latency and size down (ratios to fp32), over pruning, quantisation and calibration.

    Kept in one file, so that a search that was killed, or that is asked for by another run, goes on: what was tried is given again,
    for it is a candidate of each run, and what it was trying is tried again.
    """

    def __init__(self, config: Search, gates: Gates, path: Path, trains: bool = True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._config, self._trains = config, trains
        self._gates = gates
        self._started = time.monotonic()
        self._open: dict[str, optuna.Trial] = {}
        self._given: list[dict[str, Any]] = []
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=f"recipes-{config.seed}" if config.seed else "recipes",
            sampler=optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=6),
            directions=["maximize", "minimize", "minimize"],
            load_if_exists=True,
        )
        self._retry_interrupted()

    def learn(self, recipe: Recipe, report: Report, fp32: Report) -> None:
        """Begin with what is known of a given recipe; one outside the space that is searched teaches nothing."""
        params = params_of(recipe)
        if params is not None:
            self._given.append(params)
        if params is None or params in [_exact(trial.params) for trial in self._study.trials]:
            return
        trial = optuna.trial.create_trial(
            params=params,
            distributions={name: _space()[name] for name in params},
            values=_values(report, fp32),
            user_attrs={"recipe": recipe.name, "drop": fp32.score - report.score},
        )
        self._study.add_trial(trial)

    def recipes(self) -> Iterator[Recipe]:
        """What was tried before, then proposals, until the trials or the time are used up; say how each went with `tell` before the next."""
        for ended in self._ended()[: self._config.trials]:
            if (known := _exact(ended.params)) not in self._given:
                yield recipe_of(ended.user_attrs["recipe"], known)
        for _ in range(self._config.trials * 20):  # doubles and hopeless ones take a number too
            if len(self._ended()) >= self._config.trials or self._out_of_time():
                return
            trial = self._study.ask()
            params = _suggest(trial)
            if not self._is_worth_a_trial(params):
                self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                continue
            recipe = recipe_of(f"{_PREFIX}{trial.number:03d}", params)
            trial.set_user_attr("recipe", recipe.name)
            self._open[recipe.name] = trial
            yield recipe

    def tell(self, recipe: Recipe, report: Report | None, fp32: Report) -> None:
        """What came of a proposal; None: it could not be made, or its file could not be measured. What was tried before is known."""
        if (trial := self._open.pop(recipe.name, None)) is None:
            return
        if report is None or not report.speed:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        trial.set_user_attr("drop", fp32.score - report.score)
        self._study.tell(trial, _values(report, fp32))

    def _retry_interrupted(self) -> None:
        for trial in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            self._study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def _ended(self) -> list[optuna.trial.FrozenTrial]:
        """Trials of this search that ended with a result or failed by themselves."""
        trials = self._study.trials
        again = {trial.user_attrs["again"] for trial in trials if "again" in trial.user_attrs}
        return [
            trial
            for trial in trials
            if trial.state.is_finished()
            and str(trial.user_attrs.get("recipe", "")).startswith(_PREFIX)
            and trial.number not in again
        ]

    def _out_of_time(self) -> bool:
        limit = self._config.seconds
        return limit is not None and time.monotonic() - self._started > limit

    def _is_worth_a_trial(self, params: Mapping[str, Any]) -> bool:
        """Not fp32 itself, not what was measured before, and no more pruned than what lost far too much already, or at all of a file."""
        if params["module"] != "none" and not self._trains:
            return False
        measured = [trial for trial in self._study.trials if trial.values is not None]
        return params != _FP32 and not any(
            _exact(trial.params) == params or self._shows_too_much(trial, params) for trial in measured
        )

    def _shows_too_much(self, trial: optuna.trial.FrozenTrial, params: Mapping[str, Any]) -> bool:
        drop = trial.user_attrs.get("drop", 0.0)
        return bool(
            drop > _CLEARLY * max(self._gates.max_score_drop, 1e-3)
            and trial.params["module"] == params["module"] == "prune"
            and trial.params["ratio"] <= params["ratio"]
            and trial.params["rounds"] >= params["rounds"]
            and trial.params["file"] in ("none", params["file"])
        )


def recipe_of(name: str, params: Mapping[str, Any]) -> Recipe:
    """The recipe that a point of the space stands for."""
    steps: list[dict[str, Any]] = []
    if params["module"] == "prune":
        steps.append({"kind": "prune", "ratio": params["ratio"], "rounds": params["rounds"]})
    if params["file"] != "none":
        static = params["file"] == "static"
        fine = {"per_channel": params["per_channel"]} if params["per_channel"] != static else {}
        chosen = {"op_types": _WEIGHTS} if params.get("op_types") == "weights" else {}
        calibration = {"calibration": params["calibration"]} if static else {}
        steps.append({"kind": "quantize", "mode": params["file"], **fine, **chosen, **calibration})
    return Recipe.model_validate({"name": name, "steps": steps})


def params_of(recipe: Recipe) -> dict[str, Any] | None:
    """The point of the space that is this recipe, or None when the recipe is not in the space."""
    steps = (
        step.model_copy(update={"milder": 0}) if isinstance(step, Prune) else step for step in recipe.steps
    )
    return _points().get(tuple(steps))


_FP32 = {"module": "none", "file": "none"}

_WEIGHTS = ("Conv", "Gemm", "MatMul")

_RATIOS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

_CHOICES: dict[str, tuple[Any, ...]] = {
    "module": ("none", "prune"),
    "ratio": _RATIOS,
    "rounds": (1, 3),
    "file": ("none", "dynamic", "static"),
    "per_channel": (True, False),
    "calibration": ("minmax", "entropy", "percentile"),
    "op_types": ("fitting", "weights"),
}


@cache
def _points() -> dict[tuple[Step, ...], dict[str, Any]]:
    """Every point of the space but fp32's, by the steps that it stands for."""
    choices = [dict(zip(_CHOICES, values, strict=True)) for values in product(*_CHOICES.values())]
    points = [_point(choice.__getitem__) for choice in choices]
    return {recipe_of("point", point).steps: point for point in points if point != _FP32}


def _point(choose: Callable[[str], Any]) -> dict[str, Any]:
    """A point by what is chosen for each name that matters in it."""
    params = {name: choose(name) for name in ("module", "file")}
    names = ["ratio", "rounds"] if params["module"] == "prune" else []
    if params["file"] != "none":
        names.append("per_channel")
    if params["file"] == "static":
        names += ["calibration", "op_types"]
    return params | {name: choose(name) for name in names}


def _space() -> dict[str, optuna.distributions.BaseDistribution]:
    space: dict[str, Any] = {name: CategoricalDistribution(choices) for name, choices in _CHOICES.items()}
    return {**space, "ratio": FloatDistribution(_RATIOS[0], _RATIOS[-1], step=0.1)}


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    def choose(name: str) -> Any:
        if name == "ratio":
            return trial.suggest_float(name, _RATIOS[0], _RATIOS[-1], step=0.1)
        return trial.suggest_categorical(name, _CHOICES[name])

    return _exact(_point(choose))


def _exact(params: Mapping[str, Any]) -> dict[str, Any]:
    """As Optuna gives it back, 0.3 is 0.30000000000000004."""
    return {name: round(value, 2) if name == "ratio" else value for name, value in params.items()}


def _values(report: Report, fp32: Report) -> list[float]:
    return [report.score, latency(report), report.size_bytes / fp32.size_bytes]
