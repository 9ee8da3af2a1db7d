"""The MLflow run of a pipeline run: a new one, or the one that a killed run with the same key left behind."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from prefect.runtime import flow_run

from flows.pipeline.context import RunContext
from tasks.config import RunConfig
from tasks.records import Dataset
from tasks.registry.registry import Registry
from tasks.registry.tags import KEY_TAG
from tasks.system.files import write_atomically

log = logging.getLogger("slipway")


@contextmanager
def tracked(context: RunContext, dataset: Dataset, config: RunConfig) -> Iterator[RunContext]:
    """`context` with an MLflow run, which ends as FINISHED or FAILED; a later try with the same key continues it."""
    assert context.key is not None
    digest = context.key.digest
    pending = context.folder / "pending" / f"{digest[:16]}.run"
    registry = context.registry
    run_id = pending.read_text() if pending.exists() else ""
    if not run_id or not registry.resume_run(run_id):
        run_id = registry.start_run(context.model, str(flow_run.name), _tags(context, digest))
        write_atomically(pending, run_id.encode())
        registry.log_params(run_id, config.model_dump(mode="json"))
        registry.log_dataset(run_id, dataset)
    try:
        yield context.model_copy(update={"run_id": run_id})
    except BaseException as error:
        note_failure(registry, run_id, error)
        raise
    registry.finish_run(run_id)
    pending.unlink(missing_ok=True)


def note_failure(registry: Registry, run_id: str, error: BaseException) -> None:
    """In MLflow, if it is there to be told: what failed first is what the user has to see."""
    try:
        replace(registry, patience=0.0).check_reachable()  # MLflow's own tries would take minutes
        registry.tag_run(run_id, {"slipway.error": str(error)[:500]})
        registry.finish_run(run_id, "FAILED")
    except Exception as second:
        log.warning("MLflow could not be told that run %s failed: %s", run_id, second)


def _tags(context: RunContext, digest: str) -> dict[str, str]:
    tags = {
        KEY_TAG: digest,
        "slipway.workload": context.workload,
        "prefect.flow_run_id": str(flow_run.id),
    }
    return tags | ({"prefect.flow_run": flow_run.ui_url} if flow_run.ui_url else {})
