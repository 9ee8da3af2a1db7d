"""Each function of tasks/ bound as a Prefect task: retries, time limits and cache keys of the whole pipeline."""

import tempfile
from pathlib import Path

from prefect import task

from flows.pipeline.binding import cost_path, step, worth_a_retry
from flows.pipeline.context import RunContext
from flows.pipeline.keys import code_of
from tasks.config import Data, Gates, RunConfig, Train
from tasks.engines import Engine
from tasks.measured import Champion, CrossValidation, Proof, Report, TriedTraining
from tasks.outcome import Selection
from tasks.promotion.automatic import Decision
from tasks.proof.evidence import Evidence
from tasks.recipes import Recipe
from tasks.records import Candidate, Checkpoint, Dataset, Version
from tasks.reporting.cost import metered
from tasks.system.locks import exclusive
from tasks.training.proposal import Proposal


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry, timeout_seconds=3600)
def prepare(context: RunContext, config: Data) -> Dataset:
    """Load, validate, fingerprint and split the workload's rows. Never reused: only the rows know whether they are new."""
    from tasks.data.dataset import prepare

    store = context.store
    if store is not None:
        store.check()
    dataset = prepare(
        context.workload,
        config,
        context.home / "datasets",
        fetch=store.fetch if store is not None else None,
        code=code_of("flows.steps.prepare", context.workload),
        fresh=context.forced,
    )
    if store is not None:
        store.keep(dataset.folder)
    return dataset


@step(minutes=24 * 60, retries=2)
def train(context: RunContext, dataset: Dataset, config: Train | None, model: str | None) -> Checkpoint:
    """Train; a retry goes on from the last checkpoint. Without knobs: the weights that exist, as they are."""
    from flows.orchestration.progress import report_progress
    from tasks.training.trainer import train

    with exclusive(context.home, "train"), report_progress(context.model) as show:
        checkpoint = train(
            context.workload,
            dataset,
            config,
            context.folder / "training" / context.state_of("flows.steps.train"),
            model=model,
            publish=context.publish(),
            progress=show,
            store=context.store,
        )
    context.check_materials(checkpoint)
    return checkpoint


@step(minutes=24 * 60, retries=2)
def try_training(context: RunContext, dataset: Dataset, training: Proposal) -> TriedTraining:
    """A training that a search proposes, by validation rows alone, with an MLflow run of its own."""
    from flows.orchestration.progress import report_progress
    from flows.pipeline.child_run import child_run
    from tasks.training.tried import try_training

    folder = context.folder / "training" / context.state_of("flows.steps.train")
    with exclusive(context.home, "train"), report_progress(f"{context.model} {training.name}") as show:
        run = child_run(context, training) if context.run_id else None
        publish = run.publish if run else None
        tried = try_training(context.workload, dataset, training, folder, publish=publish, progress=show)
        return run.ended(tried) if run else tried


@step(minutes=60)
def export(context: RunContext, dataset: Dataset, checkpoint: Checkpoint, model: str | None) -> Candidate:
    """The trained model as it is, in ONNX: the baseline of every comparison."""
    from tasks.onnx.export import export

    state = context.state_of("flows.steps.export")
    path = context.folder / f"fp32-{checkpoint.sha256[:16]}" / state / "model.onnx"
    return export(
        context.workload, dataset, checkpoint, path, model=model, metadata=context.metadata(dataset)
    )


@step(minutes=24 * 60)
def compress(
    context: RunContext,
    dataset: Dataset,
    checkpoint: Checkpoint,
    baseline: Candidate,
    recipe: Recipe,
    train: Train | None,
    gates: Gates,
    model: str | None,
) -> Candidate:
    """What a recipe makes of the trained model; refused, with the reason, when it cannot."""
    from tasks.compression.candidate import compress

    state = context.state_of("flows.steps.compress")
    folder = context.folder / f"candidates-{checkpoint.sha256[:16]}" / state
    with exclusive(context.home, recipe.name):
        return compress(
            context.workload, dataset, checkpoint, baseline, recipe, folder, train, gates, model=model
        )


@step(minutes=30)
def in_engine(context: RunContext, dataset: Dataset, candidate: Candidate, engine: Engine) -> Candidate:
    """A candidate's file in another engine; refused, with its numbers, when that does not pay."""
    from tasks.proof.other_engine import in_engine

    with exclusive(context.home, candidate.name):
        return in_engine(context.workload, dataset, candidate, engine)


@step(minutes=120)
def validate(
    context: RunContext, dataset: Dataset, candidate: Candidate, fp32: Candidate, confidence: float
) -> Report:
    """Parity, score and speed of a candidate's file on the validation split."""
    from tasks.proof.validation import validate

    folder = context.folder / "reports" / _name_of(candidate)
    with exclusive(context.home, candidate.name):
        return validate(context.workload, dataset, candidate, fp32, folder, "validation", confidence)


@step(minutes=120)
def prove(
    context: RunContext,
    dataset: Dataset,
    candidate: Candidate,
    fp32: Candidate,
    champion: Version | None,
    gates: Gates,
) -> Proof:
    """The pick on the test split, against the champion's own bytes, in the real server; and the verdict."""
    from tasks.onnx.package import build_folder
    from tasks.proof.holdout import prove

    assert candidate.onnx is not None
    with tempfile.TemporaryDirectory(dir=context.folder, prefix=".prove-") as scratch:
        served = None
        if champion is not None:
            folder = context.registry.download(champion, Path(scratch) / "champion")
            served = Champion(version=champion.version, sha256=champion.sha256, folder=folder)
        package = Path(scratch) / "package"
        build_folder(candidate.onnx, dataset, package)
        kept = context.folder / "reports" / _name_of(candidate)
        with exclusive(context.home, "prove"):
            return prove(context.workload, dataset, candidate, fp32, served, gates, package, kept)


@step(minutes=24 * 60, retries=2)
def cross_validate(context: RunContext, dataset: Dataset, config: RunConfig) -> CrossValidation:
    """How good such a training is, by folds of all rows, where a test split is too small to tell."""
    from tasks.proof.cross_validation import cross_validate

    assert config.train is not None  # the workload has said so before
    folder = context.folder / "training" / context.state_of("flows.steps.cross_validate")
    with exclusive(context.home, "train"):
        return cross_validate(
            context.workload, dataset, config.train, config.gates, folder, model=config.model
        )


def _name_of(candidate: Candidate) -> str:
    assert candidate.onnx is not None
    return f"{candidate.name}-{candidate.onnx.sha256[:16]}"


@task(retries=3, retry_delay_seconds=[1, 5, 20], retry_condition_fn=worth_a_retry, timeout_seconds=1800)
@metered(cost_path)
def register(
    context: RunContext,
    evidence: Evidence,
    dataset: Dataset,
    checkpoint: Checkpoint,
    picked: Candidate,
    selection: Selection,
) -> Version:
    """Log everything, and register the pick with its evidence; a version that an interrupted run registered is taken."""
    from tasks.promotion.registration import register
    from tasks.registry.tags import KEY_TAG
    from tasks.training.metrics import read_metrics

    assert context.key is not None
    registry, digest = context.registry, context.key.digest
    if (version := registry.by_tag(context.model, KEY_TAG, digest)) and version.run_id == evidence.run_id:
        return version
    registry.log_metrics(evidence.run_id, read_metrics(checkpoint.metrics))
    return register(
        registry, evidence, dataset, picked, selection, context.folder / "package", digest, checkpoint
    )


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry, timeout_seconds=600)
@metered(cost_path)
def promote(context: RunContext, version: Version, proof: Proof, may_promote: bool) -> Decision:
    """Promote, register or refuse, by the verdict and the model's policy; one ledger entry."""
    from flows.orchestration.events import announced
    from flows.orchestration.rollout_schedule import follow
    from tasks.promotion.automatic import apply_verdict
    from tasks.promotion.rollout_status import to_look_at
    from tasks.registry.tags import DECISION_TAG

    with announced(context.registry, context.model):
        decision = apply_verdict(context.registry, version, proof, may_promote=may_promote)
    if decision.waits:
        follow(to_look_at(context.registry))  # what it waits for may have ended at this moment
    context.registry.tag_run(version.run_id, {DECISION_TAG: decision.decision})
    return decision
