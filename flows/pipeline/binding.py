"""Binding a function of flows/steps.py as a step: a Prefect task whose result is stored under the key of all it depends on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, get_args

from prefect import Task
from prefect.context import TaskRunContext
from prefect.runtime import task_run
from pydantic import BaseModel

from flows.pipeline import keys
from flows.pipeline.context import RunContext
from tasks.errors import LostError, UserError
from tasks.registry.http import MlflowError
from tasks.reporting.cost import metered
from tasks.system.files import disk_is_full

P = ParamSpec("P")

R = TypeVar("R")


@dataclass(frozen=True)
class CachedTask(Generic[P, R]):
    """A Prefect task, the definition that its result depends on, and the classes that the result is stored as."""

    task: Task[P, R]
    root: str
    returns: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.task.name)

    def key(self, context: RunContext, inputs: dict[str, Any]) -> keys.Key:
        return keys.make_key((self.root,), context.workload, inputs, self.returns, context.materials)


def step(*, minutes: float, retries: int = 1) -> Callable[[Callable[P, R]], CachedTask[P, R]]:
    """Bind a function as a step. Its result is stored as JSON under the key of its inputs and reused while they hold."""

    def bind(function: Callable[P, R]) -> CachedTask[P, R]:
        def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
            inputs = {name: value for name, value in parameters.items() if name != "context"}
            return f"{context.task.name}-{bound.key(parameters['context'], inputs).digest}"

        task = Task(
            fn=metered(cost_path)(function),
            name=function.__name__.replace("_", "-"),
            retries=retries,
            retry_delay_seconds=2,
            retry_condition_fn=worth_a_retry,
            timeout_seconds=minutes * 60,
            cache_key_fn=cache_key,
            persist_result=True,
            result_serializer="json",
        )
        returns = sorted(set(_classes(signature(function).return_annotation)))
        bound = CachedTask(task, f"{function.__module__}.{function.__name__}", tuple(returns))
        return bound

    return bind


def _classes(annotation: Any) -> Iterator[str]:
    """Where a record and those in it are imported from: Prefect reads a result by it, and is lost when one has moved."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield f"{annotation.__module__}.{annotation.__qualname__}"
        for field in annotation.model_fields.values():
            yield from _classes(field.annotation)
    for inner in get_args(annotation):
        yield from _classes(inner)


def cost_path(*arguments: Any, **named: Any) -> Path:
    context: RunContext = named["context"] if "context" in named else arguments[0]
    return context.cost_path(str(task_run.name))


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad, and a full disk full; a lost connection may come back, and a process that was ended may not be the next time."""
    try:
        state.result()
    except MlflowError as error:
        return error.may_pass
    except LostError:
        return True
    except Exception as error:
        return not isinstance(error, UserError) and not disk_is_full(error)
    return True
