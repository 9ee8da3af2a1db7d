"""The whole path on one screen: data → checkpoint → candidates → proof → version → champion."""

import time
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows import form, steps
from flows.approval import start_asking
from flows.artifacts import show_candidates, show_outcome
from flows.candidates import make_and_measure
from flows.journal import Journal
from flows.place import Place
from flows.runner import task_runner
from flows.sentence import failing_in_a_sentence
from flows.tracking import tracked
from flows.turn import take_turn
from tasks import unchanged
from tasks.config import Run
from tasks.crossvalidate import judged
from tasks.evidence import Evidence
from tasks.keys import Key
from tasks.outcome import Outcome, Selection
from tasks.records import Candidate, Checkpoint, Dataset, Proof, Report, Version
from tasks.release import make_evidence
from tasks.select import select
from tasks.settings import load_settings
from tasks.settle import Settled
from tasks.workloads import load_workload


@flow(
    name="retrain",
    flow_run_name=lambda: _run_name(),
    task_runner=task_runner(),
    persist_result=True,
    result_serializer="json",
)
@failing_in_a_sentence
def retrain(
    workload: form.WorkloadChoice = "digits",
    file: str = "",
    model: str = "",
    force: bool = False,
    promote: bool = True,
    recipes: tuple[form.RecipeChoice, ...] = (),
    training: form.TrainingForm = form.TRAINING,
    gates: form.GatesForm = form.GATES,
    search: form.SearchForm = form.SEARCH,
    data: form.DataForm = form.DATA,
) -> Outcome:
    """Train, compress, prove, register and promote a workload's model, unless nothing has changed since last time.

    Args:
        workload: Whose data and model: one that comes with Slipway.
        file: Your own workload instead: its file (churn.py) or module (package.module), as the worker finds it. Its code is run.
        model: Which of the workload's models to train; empty: its first.
        force: Run every step again, whatever is stored.
        promote: Move the champion when the gate passes; off: only register.
        recipes: Compression candidates to try besides fp32; none chosen: all that the workload has.
        training: How the weights are found; empty fields are as the workload says.
        gates: What the model must hold to be promoted; empty fields are as the workload and mlflow.yaml say.
        search: Whether to look for better recipes; empty: no.
        data: Which rows are used and how they are split; empty fields are as the workload says.
    """
    started = time.monotonic()
    workload = file or workload
    settings, known = load_settings(), load_workload(workload)
    filled = form.Form(model=model, training=training, recipes=recipes, gates=gates, search=search, data=data)
    config = form.read(filled, known, settings.apply_policy(known.name, known.defaults()))
    settings.check_policy(known.name, config)
    known.check(config)
    take_turn(known.name)
    place = Place(workload=workload, model=known.name, settings=settings)
    journal = Journal(place, force)

    dataset = journal.call(steps.prepare, config=config.data)
    known.check(config, dataset.rows["train"])
    key = unchanged.pipeline_key(workload, dataset.fingerprint, config)
    if not force and (outcome := _unchanged(place, key, dataset)) is not None:
        return outcome
    with tracked(place, key, dataset, config) as journal.place:
        checkpoint = journal.run(steps.train, dataset=dataset, config=config.train, model=config.model)
        candidates, reports = make_and_measure(journal, dataset, config, checkpoint)
        selection = select(reports, candidates, config.gates)
        proof = _prove(journal, dataset, config, candidates, selection)
        evidence = _evidence(journal, dataset, config, checkpoint, reports, selection, proof)
        version = _release(journal, evidence, dataset, checkpoint, candidates, selection, key)
        settled = journal.call(steps.settle, version=version, proof=proof, promote=promote)
        journal.log_costs()
    if promote and settled.decision == "registered":
        settled = settled.model_copy(update={"reasons": (*settled.reasons, start_asking(version))})
    unchanged.remember(place.folder / "keys", key)
    outcome = _outcome(journal, selection, proof, version, settled, time.monotonic() - started)
    show_outcome(outcome, place.registry.run_address(known.name, version.run_id))
    return outcome


def _unchanged(place: Place, key: Key, dataset: Dataset) -> Outcome | None:
    """The outcome of a run that has nothing new to do. Raises UserError for rows older than the champion's."""
    version = unchanged.same_version(place.registry, place.model, key)
    if version is None:
        unchanged.check_not_older(place.registry, place.model, dataset)
        return None
    outcome = unchanged.unchanged(place.registry, place.workload, version)
    show_outcome(outcome, place.registry.run_address(place.model, version.run_id))
    return outcome


def _prove(
    journal: Journal, dataset: Dataset, config: Run, candidates: list[Candidate], selection: Selection
) -> Proof:
    """The pick on the test rows, against what serves now; and on folds of all rows, where the gates ask for it."""
    show_candidates(journal.place.model, selection)
    proof = journal.run(
        steps.prove,
        dataset=dataset,
        candidate=_picked(candidates, selection),
        fp32=candidates[0],
        champion=journal.place.registry.by_alias(journal.place.model, "champion"),
        gates=config.gates,
    )
    if not config.gates.folds:
        return proof
    return judged(proof, journal.run(steps.cross_validate, dataset=dataset, config=config), config.gates)


def _evidence(
    journal: Journal,
    dataset: Dataset,
    config: Run,
    checkpoint: Checkpoint,
    reports: list[Report],
    selection: Selection,
    proof: Proof,
) -> Evidence:
    """All that was found so far, to be signed with the file."""
    return make_evidence(
        workload=journal.place.workload,
        run_id=journal.place.run_id or "",
        config=config,
        dataset=dataset,
        checkpoint=checkpoint,
        reports=tuple(reports),
        selection=selection,
        proof=proof,
        times=tuple(journal.times),
    )


def _release(
    journal: Journal,
    evidence: Evidence,
    dataset: Dataset,
    checkpoint: Checkpoint,
    candidates: list[Candidate],
    selection: Selection,
    key: Key,
) -> Version:
    return journal.call(
        steps.release,
        evidence=evidence,
        dataset=dataset,
        checkpoint=checkpoint,
        picked=_picked(candidates, selection),
        selection=selection,
        key=key,
    )


def _picked(candidates: list[Candidate], selection: Selection) -> Candidate:
    return next(one for one in candidates if one.name == selection.picked)


def _outcome(
    journal: Journal, selection: Selection, proof: Proof, version: Version, settled: Settled, seconds: float
) -> Outcome:
    return Outcome(
        workload=journal.place.workload,
        model=version.model,
        run_id=version.run_id,
        version=version.version,
        decision=settled.decision,
        reasons=(*settled.reasons, f"picked {selection.reason}"),
        picked=selection.picked,
        score=proof.report.score,
        digest=version.sha256,
        seconds=round(seconds, 3),
        report=str(journal.place.folder / "report.html"),
        candidates=selection.candidates,
        steps=tuple(journal.times),
    )


def _run_name() -> str:
    """digits-2026-11-22-nightly: what a list of runs should say."""
    asked, started = flow_run.parameters, flow_run.scheduled_start_time
    when = "nightly" if "auto-scheduled" in flow_run.tags else f"{started:%H%M}"
    return f"{_short(asked.get('file') or asked.get('workload', 'digits'))}-{started:%Y-%m-%d}-{when}"


def _short(reference: str) -> str:
    """churn, of path/to/churn.py and of package.churn:workload."""
    name = reference.partition(":")[0]
    return Path(name).stem if name.endswith(".py") else name.rpartition(".")[2]
