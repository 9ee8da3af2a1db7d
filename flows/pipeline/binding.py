from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import Task
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from flows.pipeline import keys
from flows.pipeline.context import RunContext
from tasks.errors import UserError
from tasks.registry.http import MlflowError
from tasks.reporting.cost import metered

P = ParamSpec("P")

R = TypeVar("R")


@dataclass(frozen=True)
class CachedTask(Generic[P, R]):
    """A Prefect task, and the modules that its result depends on."""

    task: Task[P, R]
    modules: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.task.name)


def key_of(modules: tuple[str, ...], parameters: dict[str, Any]) -> keys.Key:
    context: RunContext = parameters["context"]
    inputs = {name: value for name, value in parameters.items() if name != "context"}
    return keys.make_key(modules, context.workload, inputs)


def step(*modules: str, minutes: float, retries: int = 1) -> Callable[[Callable[P, R]], CachedTask[P, R]]:
    """Bind a function as a step. Its result is stored as JSON under the key of its inputs and reused while they hold."""

    def bind(function: Callable[P, R]) -> CachedTask[P, R]:
        def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
            return f"{context.task.name}-{key_of(modules, parameters).digest}"

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
        return CachedTask(task, modules)

    return bind


def cost_path(*arguments: Any, **named: Any) -> Path:
    context: RunContext = named["context"] if "context" in named else arguments[0]
    return context.cost_path(str(task_run.name))


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad; a lost connection may come back."""
    try:
        state.result()
    except MlflowError as error:
        return error.may_pass
    except UserError:
        return False
    except Exception:
        return True
    return True
