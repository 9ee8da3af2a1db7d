"""The whole path on one screen: data → checkpoint → candidates → proof → version → champion."""

import time
from typing import Any, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows import steps
from flows.journal import Journal
from flows.place import Place
from flows.tracking import tracked
from tasks import unchanged
from tasks.config import Run
from tasks.records import Outcome
from tasks.release import make_evidence
from tasks.select import select
from tasks.settings import load_settings
from tasks.workloads import load_workload

# Trainings share the cores: two at once are no faster, and would disturb what is measured.
_ONE_AT_A_TIME = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=1))


@flow(
    name="retrain",
    flow_run_name=lambda: _run_name(),
    task_runner=_ONE_AT_A_TIME,
    persist_result=True,
    result_serializer="json",
)
def retrain(
    workload: str = "digits", config: Run | None = None, force: bool = False, promote: bool = True
) -> Outcome:
    """Train, compress, prove, register and promote a workload's model, unless nothing has changed since last time.

    Args:
        workload: A workload's name (digits), module (package.module) or file (path/to/file.py). Its code is run.
        config: Settings that differ from the workload's own.
        force: Run every step again, whatever is stored.
        promote: Move the champion when the gate passes; off: only register.
    """
    started = time.monotonic()
    settings, known = load_settings(), load_workload(workload)
    config = config or settings.apply_policy(known.name, known.defaults())
    known.check(config)
    place = Place(workload=workload, model=known.name, settings=settings)
    journal = Journal(place, force)

    dataset = journal.run(steps.prepare, config=config.data)
    key = unchanged.pipeline_key(workload, dataset.fingerprint, config)
    if not force and (version := unchanged.same_version(place.registry, known.name, key)) is not None:
        return unchanged.unchanged(place.registry, workload, version)
    with tracked(place, key, dataset, config) as journal.place:
        trained: dict[str, Any] = {"dataset": dataset, "model": config.model}
        level = config.gates.confidence
        checkpoint = journal.run(steps.train, config=config.train, **trained)
        fp32 = journal.run(steps.export, checkpoint=checkpoint, **trained)
        candidates = [
            fp32,
            *journal.map(
                steps.compress,
                "recipe",
                config.recipes,
                checkpoint=checkpoint,
                baseline=fp32,
                train=config.train,
                gates=config.gates,
                **trained,
            ),
        ]
        reports = [
            journal.run(steps.validate, one.name, dataset=dataset, candidate=one, fp32=fp32, confidence=level)
            for one in candidates
            if one.onnx is not None
        ]
        selection = select(reports, candidates, config.gates)
        picked = next(one for one in candidates if one.name == selection.picked)
        champion = place.registry.by_alias(known.name, "champion")
        proof = journal.run(
            steps.prove, dataset=dataset, candidate=picked, fp32=fp32, champion=champion, gates=config.gates
        )
        evidence = make_evidence(
            workload=workload,
            run_id=journal.place.run_id or "",
            config=config,
            dataset=dataset,
            checkpoint=checkpoint,
            reports=tuple(reports),
            selection=selection,
            proof=proof,
            times=tuple(journal.times),
        )
        version = steps.release(journal.place, evidence, dataset, checkpoint, picked, selection, key)
        settled = steps.settle(journal.place, version, proof, promote)
    unchanged.remember(place.folder / "keys", key)
    return Outcome(
        workload=workload,
        model=known.name,
        run_id=evidence.run_id,
        version=version.version,
        decision=settled.decision,
        reasons=(*settled.reasons, f"picked {selection.reason}"),
        picked=selection.picked,
        score=proof.report.score,
        digest=version.sha256,
        seconds=round(time.monotonic() - started, 3),
        report=str(place.folder / "report.html"),
        candidates=selection.candidates,
    )


def _run_name() -> str:
    """digits-2026-11-22: what a list of runs should say."""
    reference = flow_run.parameters.get("workload", "digits")
    return f"{load_workload(reference).name}-{time.strftime('%Y-%m-%d')}"
