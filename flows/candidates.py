"""What could ship: made by the given recipes and by those that a search proposes, measured, and the pick of them proved."""

from typing import Any

from flows import steps
from flows.orchestration.artifacts import show_candidates
from flows.pipeline.runner import StepRunner
from tasks.compression.milder import milder
from tasks.config import RunConfig
from tasks.measured import Proof, Report
from tasks.onnx.engines import tried
from tasks.outcome import Selection
from tasks.promotion.permits import serving_version
from tasks.proof.gate import with_cross_validation
from tasks.proof.other_engine import worth
from tasks.proof.selection import select
from tasks.records import Candidate, Checkpoint, Dataset
from tasks.workloads.catalogue import load_workload


def make_and_measure(
    runner: StepRunner, dataset: Dataset, config: RunConfig, checkpoint: Checkpoint
) -> tuple[list[Candidate], list[Report]]:
    """Every candidate, fp32 first, and the validation report of each that has a file."""
    given: dict[str, Any] = {"dataset": dataset, "model": config.model, "checkpoint": checkpoint}
    fp32 = runner.run(steps.export, **given)
    given |= {"baseline": fp32, "train": config.train, "gates": config.gates}
    candidates = [fp32, *runner.map(steps.compress, "recipe", config.recipes, **given)]
    measured = [(candidate, _measure(runner, dataset, config, candidate, fp32)) for candidate in candidates]
    measured += _milder(runner, config, given, measured)
    if config.search.trials:
        measured += _search(runner, config, given, measured)
    measured += _in_other_engines(runner, dataset, config, measured)
    reports = [report for _, report in measured if report is not None]
    return [candidate for candidate, _ in measured], reports


def pick_and_prove(
    runner: StepRunner,
    dataset: Dataset,
    config: RunConfig,
    candidates: list[Candidate],
    reports: list[Report],
) -> tuple[Selection, Proof]:
    """The pick on the test rows, against what serves now; and on folds of all rows, where the gates ask for it."""
    selection = select(reports, candidates, config.gates)
    show_candidates(runner.context.model, selection)
    proof = runner.run(
        steps.prove,
        dataset=dataset,
        candidate=picked(candidates, selection),
        fp32=candidates[0],
        champion=serving_version(runner.context.registry, runner.context.model),
        gates=config.gates,
    )
    if not config.gates.folds:
        return selection, proof
    cross = runner.run(steps.cross_validate, dataset=dataset, config=config)
    return selection, with_cross_validation(proof, cross, config.gates)


def picked(candidates: list[Candidate], selection: Selection) -> Candidate:
    return next(candidate for candidate in candidates if candidate.name == selection.picked)


def _measure(
    runner: StepRunner, dataset: Dataset, config: RunConfig, candidate: Candidate, fp32: Candidate
) -> Report | None:
    if candidate.onnx is None:
        return None
    level = config.gates.confidence
    return runner.run(
        steps.validate, candidate.name, dataset=dataset, candidate=candidate, fp32=fp32, confidence=level
    )


def _milder(
    runner: StepRunner,
    config: RunConfig,
    given: dict[str, Any],
    measured: list[tuple[Candidate, Report | None]],
) -> list[tuple[Candidate, Report | None]]:
    """Where a recipe cost too much score, a milder one, until the score holds or its step gives up."""
    fp32, baseline = measured[0]
    assert baseline is not None
    again: list[tuple[Candidate, Report | None]] = []
    waiting, passes = measured[1:], config.train.epochs if config.train else 1
    while waiting:
        candidate, report = waiting.pop(0)
        if candidate.recipe is None or report is None:
            continue
        less = milder(candidate.recipe, report, baseline, config.gates, passes)
        if less and less.name not in [other.name for other, _ in (*measured, *again)]:
            made = runner.run(steps.compress, less.name, recipe=less, **given)
            again.append((made, _measure(runner, given["dataset"], config, made, fp32)))
            waiting.append(again[-1])
    return again


def _in_other_engines(
    runner: StepRunner, dataset: Dataset, config: RunConfig, measured: list[tuple[Candidate, Report | None]]
) -> list[tuple[Candidate, Report | None]]:
    """The files that are worth it, in each engine besides ONNX Runtime; fp32 in that one stays what ratios are against."""
    engines = tried(config.engines)
    if not engines:
        return []
    names = worth([report for _, report in measured if report is not None], config)
    made = [
        runner.run(
            steps.in_engine,
            f"{candidate.name} {engine.name}",
            dataset=dataset,
            candidate=candidate,
            engine=engine,
        )
        for candidate, _ in measured
        for engine in engines
        if candidate.name in names
    ]
    return [(candidate, _measure(runner, dataset, config, candidate, measured[0][0])) for candidate in made]


def _search(
    runner: StepRunner,
    config: RunConfig,
    given: dict[str, Any],
    measured: list[tuple[Candidate, Report | None]],
) -> list[tuple[Candidate, Report | None]]:
    """What Optuna proposes, one at a time; the study stays on disk, so that a killed search goes on."""
    from tasks.compression.search import Study

    fp32, baseline = measured[0]
    assert baseline is not None
    state = runner.context.state_of("flows.candidates.make_and_measure")
    name = f"{given['checkpoint'].sha256[:16]}-{state}.log"
    why_not = load_workload(runner.context.workload).why_untrainable(config.model)
    study = Study(config.search, config.gates, runner.context.folder / "search" / name, why_not is None)
    for candidate, report in measured[1:]:
        if candidate.recipe is not None and report is not None:
            study.learn(candidate.recipe, report, baseline)
    proposed = []
    for recipe in study.recipes():
        candidate = runner.run(steps.compress, recipe.name, recipe=recipe, **given)
        report = _measure(runner, given["dataset"], config, candidate, fp32)
        study.tell(recipe, report, baseline)
        proposed.append((candidate, report))
    return proposed
