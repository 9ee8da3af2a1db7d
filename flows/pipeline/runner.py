"""Running steps: which ran, how long, and why; stored results are taken when all they depend on is as it was."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import psutil
from prefect import Task
from prefect.context import FlowRunContext, TagsContext
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from flows.pipeline import keys
from flows.pipeline.binding import CachedTask
from flows.pipeline.context import RunContext
from tasks.outcome import Cost, StepTime
from tasks.reporting.cost import cpu_seconds_of_all, metrics_of, take_cost, watts_a_cpu
from tasks.system.files import sha256_of

R = TypeVar("R")

log = logging.getLogger("slipway")


AROUND = "around the steps"

TAG = "slipway"
"""Of a run that our automations see to; a deployment's runs have it from the deployment."""


def untagged() -> TagsContext:
    """Steps without their run's TAG: before each tagged one Prefect asks its server whether there is room for it.

    There that is a write of nothing after a read, which SQLite refuses when anything else is written in between: two seconds until it
    is asked again, several times a run (Prefect 3.9).
    """
    return TagsContext(current_tags=TagsContext.get().current_tags - {TAG})


class StepRunner:
    """Runs steps for one pipeline run, and notes of each how long it took and why it ran."""

    _first = True
    """Most processes make one run, which is charged with all since the process began; of more, each begins where it does."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._steps: list[StepTime] = []
        self._began = psutil.Process().create_time() if StepRunner._first else time.time()
        self._before, self._metered = 0.0 if StepRunner._first else cpu_seconds_of_all(), 0.0
        StepRunner._first = False

    @property
    def times(self) -> tuple[StepTime, ...]:
        """Every step so far, and what the run took around them: imports, Prefect and its server, MLflow, pauses."""
        seconds = max(0.0, time.time() - self._began - sum(step.seconds for step in self._steps))
        cpu = max(0.0, cpu_seconds_of_all() - self._before - self._metered)
        cost = Cost(cpu_seconds=round(cpu, 3), wall_seconds=round(seconds, 3))
        around = StepTime(
            name=AROUND, seconds=round(seconds, 3), reason="every time", cached=False, cost=cost
        )
        return (*self._steps, around)

    def run(self, step: "CachedTask[..., R]", label: str = "", **inputs: Any) -> R:
        """The step's result: a stored one when nothing that it depends on has changed and its files are still there."""
        name = f"{step.name} {label}".strip()
        started = _begin(name)
        state = self._bound(step).with_options(task_run_name=name)(
            context=self.context, **inputs, return_state=True
        )
        return self._take(step, name, state, started, inputs)

    def map(self, step: "CachedTask[..., R]", each: str, values: Sequence[Any], **inputs: Any) -> list[R]:
        """The step for every one of `values` as its argument `each`, through the flow's task runner."""
        started = time.monotonic()
        futures = [
            self._bound(step)
            .with_options(task_run_name=f"{step.name} {value.name}", timeout_seconds=_limit())
            .submit(context=self.context, **inputs, **{each: value})
            for value in values
        ]
        results = []
        for value, future in zip(values, futures, strict=True):
            name = f"{step.name} {value.name}"
            _begin(name)
            future.wait()
            given = {**inputs, each: value}
            results.append(self._take(step, name, future.state, started, given, here=_limit() == 0))
            started = time.monotonic()
        return results

    def call(self, task: "Task[..., R]", **inputs: Any) -> R:
        """A task that is never reused, with its line in the runner."""
        started = _begin(task.name)
        result: R = task.with_options(task_run_name=task.name)(context=self.context, **inputs)
        self._note(task.name, time.monotonic() - started, "every time", cached=False)
        return result

    def log_costs(self) -> None:
        """What each step that ran has cost, as metrics of the MLflow run."""
        if self.context.run_id is not None:
            self.context.registry.log_metrics(self.context.run_id, metrics_of(self.times, watts_a_cpu()[0]))

    def _bound(self, step: "CachedTask[..., R]") -> "Task[..., R]":
        return step.task.with_options(refresh_cache=self.context.forced)

    def _take(
        self,
        step: "CachedTask[..., R]",
        name: str,
        state: Any,
        started: float,
        inputs: dict[str, Any],
        *,
        here: bool = True,
    ) -> R:
        """The result of a finished task, run again when its files are gone; and its line in the runner."""
        key = step.key(self.context, inputs)
        file = name.replace(" ", "-")
        reason = "forced" if self.context.forced else keys.difference(keys.recall(self._keys, file), key)
        home = self.context.home
        result: R = brought_home(state.result(), home)
        cached = state.name == "Cached"
        if cached and files_are_gone(result, home):
            cached, reason = False, "its files were gone"
            again = step.task.with_options(refresh_cache=True, task_run_name=name)
            result = again(context=self.context, **inputs)
        seconds = time.monotonic() - started
        self._note(name, seconds, "unchanged" if cached else reason, cached, here=here)
        keys.remember(self._keys, file, key)
        return result

    @property
    def _keys(self) -> Path:
        return self.context.folder / "keys"

    def _note(self, name: str, seconds: float, reason: str, cached: bool, *, here: bool = True) -> None:
        """`here`: in this process, so that its cost is a part of the process's."""
        cost = None if cached else take_cost(self.context.cost_path(name))
        if cost is not None and here:
            self._metered += cost.cpu_seconds
        step = StepTime(name=name, seconds=round(seconds, 3), reason=reason, cached=cached, cost=cost)
        self._steps.append(step)
        what = "reused" if cached else "ran"
        log.info("%s: %s in %.1f s; %s", name, what, seconds, reason, extra={"step": step})


def _begin(name: str) -> float:
    """Say that a step has begun, to whoever watches; the moment, to count from."""
    log.debug("%s begins", name, extra={"begun": name})
    return time.monotonic()


def _limit() -> float | None:
    """None keeps a step's own limit; in a thread nothing can end it, so that a limit there would only warn."""
    running = FlowRunContext.get()
    return 0 if running is not None and isinstance(running.task_runner, ThreadPoolTaskRunner) else None


def brought_home(value: R, home: Path) -> R:
    """A stored record as it is here: the home that it was made in may have been copied or moved since, with its files."""
    if isinstance(value, Path):
        if not is_in(value, home):
            tails = (home.joinpath(*value.parts[start:]) for start in range(1, len(value.parts)))
            return cast(R, next((path for path in tails if path.exists()), value))
    elif isinstance(value, tuple):
        return cast(R, tuple(brought_home(item, home) for item in value))
    elif isinstance(value, BaseModel):
        return value.model_copy(update={name: brought_home(item, home) for name, item in value})
    return value


def files_are_gone(value: Any, home: Path) -> bool:
    """Whether a file of a record is not there, is another than the record says, or is another home's, which may go at any time."""
    if isinstance(value, Path):
        return not value.exists() or not is_in(value, home)
    if isinstance(value, tuple):
        return any(files_are_gone(item, home) for item in value)
    if not isinstance(value, BaseModel):
        return False
    fields = dict(value)
    path, digest = fields.get("path"), fields.get("sha256")
    return any(files_are_gone(item, home) for item in fields.values()) or (
        isinstance(path, Path) and digest is not None and sha256_of(path) != digest
    )


def is_in(path: Path, home: Path) -> bool:
    return path.resolve().is_relative_to(home.resolve())
