"""Each function of tasks/ bound as a Prefect task: retries, time limit, cache key and tags of the whole pipeline."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import Task
from prefect.context import TaskRunContext
from pydantic import BaseModel

from flows.place import Place
from tasks import keys
from tasks.config import Data, Train
from tasks.errors import UserError
from tasks.records import Candidate, Checkpoint, Dataset, StepTime

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Step(Generic[P, R]):
    """A Prefect task, and the modules that its result depends on."""

    task: Task[P, R]
    modules: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.task.name)


def step(
    *modules: str, minutes: float, retries: int = 1, tags: tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Bind a function as a step. Its result is stored as JSON under the key of its inputs and reused while they hold."""

    def bind(function: Callable[P, R]) -> Step[P, R]:
        def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
            return f"{context.task.name}-{_key(modules, parameters).digest}"

        task = Task(
            fn=function,
            name=function.__name__.replace("_", "-"),
            retries=retries,
            retry_delay_seconds=2,
            retry_condition_fn=_worth_a_retry,
            timeout_seconds=minutes * 60,
            cache_key_fn=cache_key,
            persist_result=True,
            result_serializer="json",
            tags=set(tags),
        )
        return Step(task, modules)

    return bind


def _worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad; a lost connection may come back."""
    try:
        state.result()
    except UserError:
        return False
    except Exception:
        return True
    return True


@step("tasks.data", minutes=60, retries=2)
def prepare(place: Place, config: Data) -> Dataset:
    """Load, validate, fingerprint and split the workload's rows."""
    from tasks.data import prepare

    return prepare(place.workload, config, place.home / "datasets")


@step("tasks.train", minutes=24 * 60, retries=2)
def train(place: Place, dataset: Dataset, config: Train, model: str | None) -> Checkpoint:
    """Train; a retry goes on from the last checkpoint."""
    from flows.progress import report_progress
    from tasks.train import train

    with report_progress(place.model) as show:
        return train(
            place.workload,
            dataset,
            config,
            place.folder / "training",
            model=model,
            publish=place.publish(),
            progress=show,
        )


@step("tasks.export", minutes=60)
def export(place: Place, dataset: Dataset, checkpoint: Checkpoint, model: str | None) -> Candidate:
    """The trained model as it is, in ONNX: the baseline of every comparison."""
    from tasks.export import export

    path = place.folder / f"fp32-{checkpoint.sha256[:16]}" / "model.onnx"
    return export(place.workload, dataset, checkpoint, path, model=model, metadata=place.metadata(dataset))


class Journal:
    """Runs steps for one pipeline run, and notes of each how long it took and why it ran."""

    def __init__(self, place: Place, force: bool) -> None:
        self.place = place
        self.times: list[StepTime] = []
        self._force = force

    def run(self, step: "Step[..., R]", **inputs: Any) -> R:
        """The step's result: a stored one when nothing that it depends on has changed and its files are still there."""
        key = _key(step.modules, {"place": self.place, **inputs})
        reason = "forced" if self._force else keys.difference(keys.recall(self._keys, step.name), key)
        started = time.monotonic()
        state = step.task.with_options(refresh_cache=self._force)(
            place=self.place, **inputs, return_state=True
        )
        result: R = state.result()
        cached = state.name == "Cached"
        if cached and _files_are_gone(result):
            cached, reason = False, "its files were gone"
            result = step.task.with_options(refresh_cache=True)(place=self.place, **inputs)
        self._note(step.name, time.monotonic() - started, "unchanged" if cached else reason, cached)
        keys.remember(self._keys, step.name, key)
        return result

    @property
    def _keys(self) -> Path:
        return self.place.folder / "keys"

    def _note(self, name: str, seconds: float, reason: str, cached: bool) -> None:
        self.times.append(StepTime(name=name, seconds=round(seconds, 3), reason=reason, cached=cached))
        log.info("%s: %s, %s", name, "reused" if cached else "ran", reason, extra={"step": self.times[-1]})


def _key(modules: tuple[str, ...], parameters: dict[str, Any]) -> keys.Key:
    place: Place = parameters["place"]
    inputs = {name: value for name, value in parameters.items() if name != "place"}
    return keys.make_key(modules, place.workload, inputs)


def _files_are_gone(result: Any) -> bool:
    return any(not path.exists() for path in _paths(result))


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name))
