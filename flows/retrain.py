"""The whole path on one screen: data → checkpoint → candidates → proof → version → champion."""

import logging
import time
from pathlib import Path

from prefect import flow
from prefect.runtime import deployment, flow_run

from flows import steps, trainings
from flows.candidates import make_and_measure, pick_and_prove, picked
from flows.orchestration import form
from flows.orchestration.approval import start_asking
from flows.orchestration.artifacts import show_outcome, show_source
from flows.orchestration.failures import failing_in_a_sentence
from flows.orchestration.run_lock import wait_for_turn
from flows.orchestration.statuses import failures_shown, show_run
from flows.orchestration.story import told
from flows.orchestration.task_runner import task_runner
from flows.pipeline import reuse
from flows.pipeline.context import RunContext
from flows.pipeline.retention import tidy
from flows.pipeline.runner import StepRunner, untagged
from flows.pipeline.tracking import interrupted, tracked
from tasks.bundles.bundle import is_bundle
from tasks.bundles.kept import bundle_of, name_of
from tasks.compression.catalogue import check_run
from tasks.config import RunConfig
from tasks.measured import Proof, Report, Searched
from tasks.outcome import Outcome, Selection
from tasks.promotion.automatic import Decision
from tasks.proof.evidence import Evidence, make_evidence
from tasks.records import Candidate, Checkpoint, Dataset, Version
from tasks.registry.tags import DECISION_TAG
from tasks.reporting.why import why_started
from tasks.settings import load_settings
from tasks.system.locks import at_work
from tasks.system.signing import given_key
from tasks.workloads.catalogue import load_workload
from tasks.workloads.origin import libraries_of, origin_of

log = logging.getLogger("slipway")


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
    engines: tuple[form.EngineChoice, ...] = (),
    training: form.TrainingForm = form.TRAINING,
    gates: form.GatesForm = form.GATES,
    search: form.SearchForm = form.SEARCH,
    data: form.DataForm = form.DATA,
    reason: str = "",
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
        engines: What the files are tried in, besides ONNX Runtime; none chosen: what is installed, or as the workload says.
        gates: What the model must hold to be promoted; empty fields are as the workload and mlflow.yaml say.
        search: Whether to look for better recipes; empty: no.
        data: Which rows are used and how they are split; empty fields are as the workload says.
        reason: Why it is run, such as what an alarm says; kept with the run, beside what came of it.
    """
    started = time.monotonic()
    if reason:
        log.info("is run because %s", reason)
    reference = file or workload
    settings, definition = load_settings(), load_workload(reference)
    filled = form.Form(
        model=model,
        training=training,
        recipes=recipes,
        engines=engines,
        gates=gates,
        search=search,
        data=data,
    )
    config = form.read(filled, definition, settings.apply_policy(definition.name, definition.defaults()))
    settings.check_policy(definition.name, config)
    check_run(definition, config)
    given_key()  # or what is wrong with it would be said when all is trained
    wait_for_turn(definition.name)
    context = RunContext(
        workload=reference,
        model=definition.name,
        settings=settings,
        forced=force,
        materials=definition.all_materials(),
        reason=reason,
    )
    runner = StepRunner(context)

    with (
        failures_shown(context.registry, definition.name),
        at_work(settings.home, definition.name),
        untagged(),
    ):
        dataset = runner.call(steps.prepare, config=config.data)
        check_run(definition, config, dataset.rows["train"])
        runner.context = context = reuse.with_key(context, dataset, config)
        with reuse.alone(context):
            outcome = None if force else reuse.find(context, dataset)
            if outcome is None:
                outcome = _make(runner, dataset, config, started, may_promote=promote)
            else:
                _end_interrupted(context, outcome, may_promote=promote)
                _show_source(context.model_copy(update={"run_id": outcome.run_id}), ran=False)
    tidy(context)
    return _show(context, outcome)


def _make(
    runner: StepRunner, dataset: Dataset, config: RunConfig, started: float, *, may_promote: bool
) -> Outcome:
    """From rows to a decision about a new version."""
    context = runner.context
    with tracked(context, dataset, config) as runner.context:
        _show_source(runner.context, ran=True)
        config, searched = trainings.search(runner, dataset, config)
        checkpoint = runner.run(steps.train, dataset=dataset, config=config.train, model=config.model)
        candidates, reports = make_and_measure(runner, dataset, config, checkpoint)
        selection, proof = pick_and_prove(runner, dataset, config, candidates, reports)
        if not context.forced and (outcome := reuse.find(context, dataset)) is not None:
            return outcome  # another machine made it meanwhile
        shipped = picked(candidates, selection)
        evidence = _evidence(
            runner, dataset, config, searched, checkpoint, reports, selection, proof, shipped
        )
        version = runner.call(
            steps.register,
            evidence=evidence,
            dataset=dataset,
            checkpoint=checkpoint,
            picked=shipped,
            selection=selection,
        )
        if not context.forced and (outcome := reuse.yielded(context, version)) is not None:
            return outcome
        decision = runner.call(steps.promote, version=version, proof=proof, may_promote=may_promote)
        runner.log_costs()
    if may_promote and decision.decision == "registered" and not decision.waits:
        decision = decision.model_copy(update={"reasons": (*decision.reasons, start_asking(version))})
    reuse.remember(context)
    remarks = (*checkpoint.remarks, *([f"is {searched.sentence}"] if searched else []))
    return _outcome(runner, remarks, selection, proof, version, decision, time.monotonic() - started)


def _end_interrupted(context: RunContext, outcome: Outcome, *, may_promote: bool) -> None:
    """A run that was killed after it had decided owes its question, if it has one, and its end."""
    registry = context.registry
    with interrupted(context) as owes:
        version = registry.version(context.model, outcome.version or 0) if owes and may_promote else None
        if version is not None and registry.tags(version).get(DECISION_TAG) == "registered":
            start_asking(version)


def _show_source(context: RunContext, *, ran: bool) -> None:
    """A bundle's run says whose code it is from its beginning on."""
    if is_bundle(context.workload):
        source = context.registry.run_address(context.model, context.run_id or "", "source")
        show_source(bundle_of(context.workload), context.model, source, ran=ran)


def _show(context: RunContext, outcome: Outcome) -> Outcome:
    reason = context.reason
    said = f"{outcome.headline}. {why_started(outcome, reason)}" if reason else outcome.headline
    show_outcome(outcome, context.registry, reason)
    show_run(context.registry, outcome, said)
    return told(outcome, said)


def _evidence(
    runner: StepRunner,
    dataset: Dataset,
    config: RunConfig,
    searched: Searched | None,
    checkpoint: Checkpoint,
    reports: list[Report],
    selection: Selection,
    proof: Proof,
    shipped: Candidate,
) -> Evidence:
    """All that was found so far, to be signed with the file."""
    key = runner.context.key
    return make_evidence(
        workload=runner.context.workload,
        run_id=runner.context.run_id or "",
        config=config,
        dataset=dataset,
        checkpoint=checkpoint,
        reports=tuple(reports),
        selection=selection,
        proof=proof,
        times=runner.times,
        searched=searched,
        origin=origin_of(runner.context.workload),
        libraries=libraries_of(runner.context.workload),
        goals=[goal.name for goal in load_workload(runner.context.workload).goals],
        recipe=shipped.recipe,
        key=key.digest if key is not None else None,
        definitions=key.code if key is not None else None,
    )


def _outcome(
    runner: StepRunner,
    remarks: tuple[str, ...],
    selection: Selection,
    proof: Proof,
    version: Version,
    decision: Decision,
    seconds: float,
) -> Outcome:
    return Outcome(
        workload=runner.context.workload,
        model=version.model,
        run_id=version.run_id,
        version=version.version,
        decision=decision.decision,
        reasons=(*decision.reasons, *remarks, f"picked {selection.reason}"),
        picked=selection.picked,
        score=proof.report.score,
        score_name=proof.report.score_name,
        difference=proof.verdict.difference,
        digest=version.sha256,
        seconds=round(seconds, 3),
        report=str(runner.context.folder / "report.html"),
        candidates=selection.candidates,
        steps=runner.times,
    )


def _run_name() -> str:
    """digits-2026-11-22-0200: what a list of runs should say while it goes on; then `told` adds what came of it."""
    asked, started = flow_run.parameters, flow_run.scheduled_start_time
    reference = asked.get("file") or asked.get("workload", "digits")
    # A bundle may not be here yet; what is deployed has a name.
    name = deployment.name if is_bundle(reference) and deployment.name else short_name(reference)
    return f"{name}-{started:%Y-%m-%d-%H%M}"


def short_name(reference: str) -> str:
    """churn, of path/to/churn.py and of package.churn:workload."""
    if is_bundle(reference):
        return name_of(reference)
    name = reference.partition(":")[0]
    return Path(name).stem if name.endswith(".py") else name.rpartition(".")[2]
