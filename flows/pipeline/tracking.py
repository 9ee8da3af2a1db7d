"""The MLflow run of a pipeline run: a new one, or the one that a killed run with the same key left behind."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from flows.pipeline.context import RunContext
from tasks.bundles.bundle import is_bundle
from tasks.bundles.kept import locate
from tasks.config import RunConfig
from tasks.records import Dataset
from tasks.registry.registry import Registry
from tasks.registry.tags import KEY_TAG
from tasks.system.files import write_atomically
from tasks.workloads.origin import origin_of

log = logging.getLogger("slipway")

_BEGINS, _BEGUN_TAG = "begins ", "slipway.begun"

_LONGEST = 500
"""Of a tag in MLflow that people read."""


@contextmanager
def tracked(context: RunContext, dataset: Dataset, config: RunConfig) -> Iterator[RunContext]:
    """`context` with an MLflow run, which ends as FINISHED or FAILED; a later try with the same key continues it."""
    pending, registry = _pending(context), context.registry
    run_id = pending.read_text() if pending.exists() else ""
    if not run_id or run_id.startswith(_BEGINS) or not registry.resume_run(run_id):
        run_id = _begin(context, pending, run_id if run_id.startswith(_BEGINS) else "")
        registry.log_params(run_id, _settled(config))
        registry.log_dataset(run_id, dataset)
        if is_bundle(context.workload):  # which was looked through for secrets
            registry.log_source(run_id, locate(context.workload).folder)
        write_atomically(pending, run_id.encode())
    try:
        yield context.model_copy(update={"run_id": run_id})
    except BaseException as error:
        note_failure(registry, run_id, error)
        raise
    registry.finish_run(run_id)
    pending.unlink(missing_ok=True)


def _settled(config: RunConfig) -> dict[str, Any]:
    """The knobs that a search does not turn: MLflow writes a parameter once, and what it chooses is not known yet."""
    knobs: dict[str, Any] = config.model_dump(mode="json")
    for name in config.search.space:
        group, _, knob = name.rpartition(".")
        (knobs[group] if group else knobs).pop(knob)
    return knobs


@contextmanager
def interrupted(context: RunContext) -> Iterator[bool]:
    """Whether a run with this key was killed when its version was decided on; what it still owed is done within, and then it ends."""
    pending, registry = _pending(context), context.registry
    yield pending.exists()
    if pending.exists():
        run_id = pending.read_text()
        if not run_id.startswith(_BEGINS) and registry.resume_run(run_id):
            registry.finish_run(run_id)
        pending.unlink()


def _begin(context: RunContext, pending: Path, begun: str) -> str:
    """A new run, or the one that was made by a try that was killed before it could keep its id; what is kept before has a name for it."""
    registry = context.registry
    run_id = registry.run_by_tag(context.model, _BEGUN_TAG, begun) if begun else None
    if run_id is None or not registry.resume_run(run_id):
        begun = f"{_BEGINS}{secrets.token_hex(16)}"
        write_atomically(pending, begun.encode())
        origin = origin_of(context.workload)
        tags = _tags(context) | (origin.tags if origin else {}) | {_BEGUN_TAG: begun}
        run_id = registry.start_run(context.model, str(flow_run.name), tags)
    return run_id


def _pending(context: RunContext) -> Path:
    assert context.key is not None
    return context.folder / "pending" / f"{context.key.digest[:16]}.run"


def note_failure(registry: Registry, run_id: str, error: BaseException) -> None:
    """In MLflow, if it is there to be told: what failed first is what the user has to see."""
    try:
        replace(registry, patience=0.0).check_reachable()  # MLflow's own tries would take minutes
        registry.tag_run(run_id, {"slipway.error": str(error)[:_LONGEST]})
        registry.finish_run(run_id, "FAILED")
    except Exception as second:
        log.warning("MLflow could not be told that run %s failed: %s", run_id, second)


def _tags(context: RunContext) -> dict[str, str]:
    assert context.key is not None
    tags = {
        KEY_TAG: context.key.digest,
        "slipway.workload": context.workload,
        "prefect.flow_run_id": str(flow_run.id),
    }
    tags |= {"slipway.reason": context.reason[:_LONGEST]} if context.reason else {}
    return tags | ({"prefect.flow_run": flow_run.ui_url} if flow_run.ui_url else {})
