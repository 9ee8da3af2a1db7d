"""Making and measuring what could ship: the given recipes through the task runner, then those that a search proposes."""

from typing import Any

from flows import steps
from flows.pipeline.runner import StepRunner
from tasks.config import RunConfig
from tasks.recipes import Recipe
from tasks.records import Candidate, Checkpoint, Dataset, Report


def make_and_measure(
    runner: StepRunner, dataset: Dataset, config: RunConfig, checkpoint: Checkpoint
) -> tuple[list[Candidate], list[Report]]:
    """Every candidate, fp32 first, and the validation report of each that has a file."""
    given: dict[str, Any] = {"dataset": dataset, "model": config.model, "checkpoint": checkpoint}
    fp32 = runner.run(steps.export, **given)
    given |= {"baseline": fp32, "train": config.train, "gates": config.gates}
    candidates = [fp32, *runner.map(steps.compress, "recipe", config.recipes, **given)]
    measured = [(one, _measure(runner, dataset, config, one, fp32)) for one in candidates]
    if config.search.trials:
        measured += _search(runner, config, given, measured)
    reports = [report for _, report in measured if report is not None]
    return [one for one, _ in measured], reports


def _measure(
    runner: StepRunner, dataset: Dataset, config: RunConfig, candidate: Candidate, fp32: Candidate
) -> Report | None:
    if candidate.onnx is None:
        return None
    level = config.gates.confidence
    return runner.run(
        steps.validate, candidate.name, dataset=dataset, candidate=candidate, fp32=fp32, confidence=level
    )


def _search(
    runner: StepRunner,
    config: RunConfig,
    given: dict[str, Any],
    known: list[tuple[Candidate, Report | None]],
) -> list[tuple[Candidate, Report | None]]:
    """What Optuna proposes, one at a time; the study stays on disk, so that a killed search goes on."""
    from tasks.compression.search import Study

    fp32, baseline = known[0]
    assert baseline is not None
    name = f"{given['checkpoint'].sha256[:16]}.log"
    study = Study(config.search, config.gates, runner.context.folder / "search" / name)
    for one, report in known[1:]:
        if one.recipe is not None and report is not None:
            study.learn(one.recipe, report, baseline)
    found = []
    for recipe in study.recipes():
        candidate = _make(runner, recipe, given)
        report = _measure(runner, given["dataset"], config, candidate, fp32)
        study.tell(recipe, report, baseline)
        found.append((candidate, report))
    return found


def _make(runner: StepRunner, recipe: Recipe, given: dict[str, Any]) -> Candidate:
    return runner.run(steps.compress, recipe.name, recipe=recipe, **given)
