"""Whether a run has anything new to do: the registry knows what each version was made of."""

import json
import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path

from flows.pipeline import keys
from flows.pipeline.context import RunContext
from flows.pipeline.keys import Key
from tasks.config import RunConfig
from tasks.errors import UserError
from tasks.onnx.engines import versions
from tasks.outcome import Outcome
from tasks.promotion.permits import serving_version
from tasks.records import Dataset, Material, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import DECISION_TAG, KEY_TAG, NEWEST_TAG, PICKED_TAG
from tasks.settings import Settings
from tasks.system import locks
from tasks.workloads.workload import Workload

_NAME = "pipeline"

PATIENCE_SECONDS = 60.0
"""For another machine's run between its registration and its decision, which takes seconds."""

log = logging.getLogger("slipway")


def pipeline_key(
    reference: str, fingerprint: str, config: RunConfig, materials: Iterable[Material] = ()
) -> Key:
    """The key of a whole run: code, workload, what its models are made of, data, every knob and the libraries."""
    inputs = {"fingerprint": fingerprint, "config": config, "engines": versions(config.engines)}
    return keys.make_key(keys.RUN, reference, inputs, materials=materials)


def with_key(context: RunContext, dataset: Dataset, config: RunConfig) -> RunContext:
    """`context` with the key of its whole run, now that its rows are known."""
    key = pipeline_key(context.workload, dataset.fingerprint, config, context.materials)
    return context.model_copy(update={"key": key})


def alone(context: RunContext) -> AbstractContextManager[None]:
    """Of runs here that would make the same version, one makes it; the others wait, and find it made."""
    assert context.key is not None
    waits = "waits: another run is making the same version"
    return locks.alone(context.home, f"run-{context.model}-{context.key.digest[:16]}", waits)


def remember(context: RunContext) -> None:
    """That this run came to its end, for `find_unchanged`."""
    assert context.key is not None
    keys.remember(context.folder / "keys", _NAME, context.key)


def find(context: RunContext, dataset: Dataset) -> Outcome | None:
    """The outcome of a run that has nothing new to do. Raises UserError for rows older than the champion's."""
    assert context.key is not None
    registry = context.registry
    version = _same_version(registry, context.model, context.key)
    if version is not None:
        return unchanged_outcome(registry, context.workload, version)
    check_not_older(registry, context.model, dataset)
    return None


def yielded(context: RunContext, version: Version) -> Outcome | None:
    """The outcome where a run of another home registered the same before this one registered `version`, which goes then.

    Both have seen nothing before they registered. Of two numbers one is lower, and both see that it is; whoever has the
    higher one waits until the other has decided, and goes on alone when it does not.
    """
    assert context.key is not None
    registry, until = context.registry, time.monotonic() + PATIENCE_SECONDS
    versions = registry.all_by_tag(context.model, KEY_TAG, context.key.digest)
    before = [other for other in versions if other.version < version.version]
    while before:
        for other in before:
            if DECISION_TAG in registry.tags(other):
                registry.delete_version(version)
                return unchanged_outcome(registry, context.workload, other)
        if time.monotonic() > until:
            break
        log.info("waits: another machine has registered the same as version %d", before[0].version)
        time.sleep(PATIENCE_SECONDS / 30)
    return None


def _same_version(registry: Registry, model: str, key: Key) -> Version | None:
    """The newest version that a finished run with this key registered, or None."""
    versions = registry.all_by_tag(model, KEY_TAG, key.digest)
    return next((version for version in versions if DECISION_TAG in registry.tags(version)), None)


def find_unchanged(
    reference: str, workload: Workload, config: RunConfig, settings: Settings
) -> Outcome | None:
    """An "unchanged" outcome without starting anything; None when there may be something to do.

    Costs nothing when code or knobs differ from the last run here; else the rows are read and the registry is asked.
    """
    folder = settings.home / "work" / workload.name / "keys"
    last = keys.recall(folder, _NAME)
    if last is None or "fingerprint" not in last.inputs:
        return None
    key = pipeline_key(reference, last.inputs["fingerprint"], config, workload.all_materials())
    if key.digest != last.digest:
        return None
    from tasks.data.dataset import data_fingerprint

    try:
        fingerprint = data_fingerprint(workload, config.data, settings.home / "datasets")
    except UserError:
        return None  # the run itself says it, with everything around it
    if fingerprint != last.inputs["fingerprint"]:
        return None
    registry = Registry(settings)
    version = _same_version(registry, workload.name, last)
    return unchanged_outcome(registry, reference, version) if version is not None else None


def check_not_older(registry: Registry, model: str, dataset: Dataset) -> None:
    """Raise UserError when the champion has learned from later rows: a source that went back is a fault, not news."""
    champion = serving_version(registry, model)
    if champion is None or dataset.newest is None:
        return
    theirs = registry.tags(champion).get(NEWEST_TAG)
    if theirs is not None and _earlier(dataset.newest, theirs):
        raise UserError(
            f"The rows of {model} end at {dataset.newest}, before those of champion v{champion.version} ({theirs}): "
            "give newer rows, or --force to train on these."
        )


def _earlier(left: str, right: str) -> bool:
    """Of two moments as text, also in two zones; where time is a number (a year, seconds), 9 comes before 10."""
    with suppress(ValueError):
        return float(left) < float(right)
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(left) < datetime.fromisoformat(right)
    return left < right


def unchanged_outcome(registry: Registry, reference: str, version: Version) -> Outcome:
    """The outcome of a run that found its version already made."""
    tags = registry.tags(version)
    decision = tags[DECISION_TAG]
    champion = serving_version(registry, version.model)
    serving = champion is not None and champion.version == version.version
    began = "began to answer beside the champion" if decision == "rolling" else f"was {decision}"
    standing = "is the champion" if serving else began
    reasons = [f"code, data, settings and libraries are those of version {version.version}, which {standing}"]
    if not serving and decision == "registered":
        reasons.append(f"slipway promote {version.model} {version.version} --reason … promotes it")
    return Outcome(
        workload=reference,
        model=version.model,
        run_id=version.run_id,
        version=version.version,
        decision="unchanged",
        reasons=tuple(reasons),
        picked=tags.get(PICKED_TAG),
        score=float(tags["slipway.score"]) if "slipway.score" in tags else None,
        score_name=tags.get("slipway.score_name"),
        digest=version.sha256,
        report=_report(registry.settings.home / "work" / version.model, version),
    )


def _report(folder: Path, version: Version) -> str | None:
    """The page that the last run left here, if that was the run of this version; each run's own is kept in MLflow."""
    page, evidence = folder / "report.html", folder / "package" / "evidence.json"
    try:
        its = json.loads(evidence.read_bytes())["run_id"] == version.run_id
    except (OSError, ValueError, KeyError):
        return None
    return str(page) if its and page.exists() else None
