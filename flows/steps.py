"""Each function of tasks/ bound as a Prefect task: retries, time limits and cache keys of the whole pipeline."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import Task, task
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from flows.place import Place
from tasks import keys
from tasks.config import Data, Gates, Recipe, Run, Train
from tasks.cost import metered
from tasks.errors import UserError
from tasks.evidence import Evidence
from tasks.http import RestError
from tasks.machine import alone
from tasks.outcome import Selection
from tasks.records import Candidate, Champion, Checkpoint, CrossValidation, Dataset, Proof, Report, Version
from tasks.settle import Settled

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Step(Generic[P, R]):
    """A Prefect task, and the modules that its result depends on."""

    task: Task[P, R]
    modules: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.task.name)


def key_of(modules: tuple[str, ...], parameters: dict[str, Any]) -> keys.Key:
    place: Place = parameters["place"]
    inputs = {name: value for name, value in parameters.items() if name != "place"}
    return keys.make_key(modules, place.workload, inputs)


def step(*modules: str, minutes: float, retries: int = 1) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Bind a function as a step. Its result is stored as JSON under the key of its inputs and reused while they hold."""

    def bind(function: Callable[P, R]) -> Step[P, R]:
        def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
            return f"{context.task.name}-{key_of(modules, parameters).digest}"

        task = Task(
            fn=metered(_cost_path)(function),
            name=function.__name__.replace("_", "-"),
            retries=retries,
            retry_delay_seconds=2,
            retry_condition_fn=worth_a_retry,
            timeout_seconds=minutes * 60,
            cache_key_fn=cache_key,
            persist_result=True,
            result_serializer="json",
        )
        return Step(task, modules)

    return bind


def _cost_path(*arguments: Any, **named: Any) -> Path:
    place: Place = named["place"] if "place" in named else arguments[0]
    return place.cost_path(str(task_run.name))


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad; a lost connection may come back."""
    try:
        state.result()
    except RestError as error:
        return error.may_pass
    except UserError:
        return False
    except Exception:
        return True
    return True


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry, timeout_seconds=3600)
def prepare(place: Place, config: Data) -> Dataset:
    """Load, validate, fingerprint and split the workload's rows. Never reused: only the rows know whether they are new."""
    from tasks.data import prepare

    store = place.store
    if store is not None:
        store.check()
    dataset = prepare(
        place.workload, config, place.home / "datasets", fetch=store.fetch if store is not None else None
    )
    if store is not None:
        store.keep(dataset.folder)
    return dataset


@step("tasks.train", minutes=24 * 60, retries=2)
def train(place: Place, dataset: Dataset, config: Train, model: str | None) -> Checkpoint:
    """Train; a retry goes on from the last checkpoint."""
    from flows.progress import report_progress
    from tasks.train import train

    with alone(place.home, "train"), report_progress(place.model) as show:
        return train(
            place.workload,
            dataset,
            config,
            place.folder / "training",
            model=model,
            publish=place.publish(),
            progress=show,
            store=place.store,
        )


@step("tasks.export", minutes=60)
def export(place: Place, dataset: Dataset, checkpoint: Checkpoint, model: str | None) -> Candidate:
    """The trained model as it is, in ONNX: the baseline of every comparison."""
    from tasks.export import export

    path = place.folder / f"fp32-{checkpoint.sha256[:16]}" / "model.onnx"
    return export(place.workload, dataset, checkpoint, path, model=model, metadata=place.metadata(dataset))


@step("tasks.compress", "tasks.compress.make", minutes=24 * 60)
def compress(
    place: Place,
    dataset: Dataset,
    checkpoint: Checkpoint,
    baseline: Candidate,
    recipe: Recipe,
    train: Train,
    gates: Gates,
    model: str | None,
) -> Candidate:
    """What a recipe makes of the trained model; refused, with the reason, when it cannot."""
    from tasks.compress.make import make

    folder = place.folder / f"candidates-{checkpoint.sha256[:16]}"
    with alone(place.home, recipe.name):
        return make(place.workload, dataset, checkpoint, baseline, recipe, folder, train, gates, model=model)


@step("tasks.validate", minutes=120)
def validate(
    place: Place, dataset: Dataset, candidate: Candidate, fp32: Candidate, confidence: float
) -> Report:
    """Parity, score and speed of a candidate's file on the validation split."""
    from tasks.validate import validate

    folder = place.folder / "reports" / _name_of(candidate)
    with alone(place.home, candidate.name):
        return validate(place.workload, dataset, candidate, fp32, folder, "validation", confidence)


@step("tasks.prove", minutes=120)
def prove(
    place: Place,
    dataset: Dataset,
    candidate: Candidate,
    fp32: Candidate,
    champion: Version | None,
    gates: Gates,
) -> Proof:
    """The pick on the test split, against the champion's own bytes, in the real server; and the verdict."""
    from tasks.package import build_folder
    from tasks.prove import prove

    assert candidate.onnx is not None
    with tempfile.TemporaryDirectory(dir=place.folder, prefix=".prove-") as scratch:
        served = None
        if champion is not None:
            folder = place.registry.download(champion, Path(scratch) / "champion")
            served = Champion(version=champion.version, sha256=champion.sha256, folder=folder)
        package = Path(scratch) / "package"
        build_folder(candidate.onnx, dataset, package)
        kept = place.folder / "reports" / _name_of(candidate)
        with alone(place.home, "prove"):
            return prove(place.workload, dataset, candidate, fp32, served, gates, package, kept)


@step("tasks.crossvalidate", minutes=24 * 60, retries=2)
def cross_validate(place: Place, dataset: Dataset, config: Run) -> CrossValidation:
    """How good such a training is, by folds of all rows, where a test split is too small to tell."""
    from tasks.crossvalidate import cross_validate

    folder = place.folder / "training"
    with alone(place.home, "train"):
        return cross_validate(place.workload, dataset, config.train, config.gates, folder, model=config.model)


def _name_of(candidate: Candidate) -> str:
    assert candidate.onnx is not None
    return f"{candidate.name}-{candidate.onnx.sha256[:16]}"


@task(retries=3, retry_delay_seconds=[1, 5, 20], retry_condition_fn=worth_a_retry, timeout_seconds=1800)
@metered(_cost_path)
def release(
    place: Place,
    evidence: Evidence,
    dataset: Dataset,
    checkpoint: Checkpoint,
    picked: Candidate,
    selection: Selection,
    key: keys.Key,
) -> Version:
    """Log everything, and register the pick with its evidence; a version that an interrupted run registered is taken."""
    from tasks.metrics import read_metrics
    from tasks.release import release

    registry = place.registry
    if (version := registry.by_key(place.model, key.digest)) and version.run_id == evidence.run_id:
        return version
    registry.log_metrics(evidence.run_id, read_metrics(checkpoint.metrics))
    return release(
        registry, evidence, dataset, picked, selection, place.folder / "package", key.digest, checkpoint
    )


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry, timeout_seconds=600)
@metered(_cost_path)
def settle(place: Place, version: Version, proof: Proof, promote: bool) -> Settled:
    """Promote, register or refuse, by the verdict and the model's policy; one ledger entry."""
    from flows.guard import deciding
    from tasks.settle import settle

    with deciding(place.settings, place.model):
        return settle(place.registry, version, proof, may_promote=promote)
