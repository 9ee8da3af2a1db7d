"""The whole path on one screen: data → checkpoint → candidates → proof → version → champion."""

import time

from prefect import flow
from prefect.runtime import flow_run

from flows import steps
from flows.place import Place
from flows.steps import Journal
from tasks.config import Run
from tasks.records import Outcome
from tasks.settings import load_settings
from tasks.workloads import load_workload


def _name() -> str:
    """digits-2026-11-22: what a list of runs should say."""
    return f"{load_workload(flow_run.parameters['workload']).name}-{time.strftime('%Y-%m-%d')}"


@flow(
    name="retrain",
    flow_run_name=_name,
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
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
    known, settings = load_workload(workload), load_settings()
    config = config or settings.apply_policy(known.name, known.defaults())
    journal = Journal(Place(workload=workload, model=known.name, settings=settings), force)

    dataset = journal.run(steps.prepare, config=config.data)
    with journal.registered(dataset, config) as found:
        if found is not None:
            return found
        checkpoint = journal.run(steps.train, dataset=dataset, config=config.train, model=config.model)
        baseline = journal.run(steps.export, dataset=dataset, checkpoint=checkpoint, model=config.model)
    return Outcome(
        workload=workload,
        model=known.name,
        run_id=None,
        version=None,
        decision="failed",
        reasons=(),
        seconds=time.monotonic() - started,
    )
