"""Where a flow's candidates are made: in threads here, or on a Ray cluster; `SLIPWAY_TASK_RUNNER` says which."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.errors import UserError

VARIABLE = "SLIPWAY_TASK_RUNNER"

Runner = TaskRunner[PrefectFuture[Any]]


def task_runner() -> Runner:
    """threads (or unset): one at a time here, for trainings share the cores. ray: the cluster in RAY_ADDRESS, else one of this
    machine's own. ray://host:10001 or host:6379: that cluster, also for trainings with train.workers above 1. Its nodes
    need Slipway installed and SLIPWAY_HOME shared.

    Raises UserError for anything else, and when Ray is not installed.
    """
    chosen = os.environ.get(VARIABLE) or "threads"
    if chosen == "threads":
        return cast(Runner, ThreadPoolTaskRunner(max_workers=1))
    if chosen != "ray" and ":" not in chosen:
        raise UserError(f"{VARIABLE}={chosen} is not a task runner: use threads, ray or ray://host:10001.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise UserError(f"{VARIABLE}={chosen} needs Ray: pip install 'slipway[ray]'.") from error
    address = None if chosen == "ray" else chosen
    return cast(Runner, RayTaskRunner(address=address, init_kwargs={"log_to_driver": False}))


def at_once() -> int | None:
    """How many steps the running flow's task runner has at a time: one in threads here; None, as many as there are, on a cluster."""
    running = FlowRunContext.get()
    return 1 if running is None or isinstance(running.task_runner, ThreadPoolTaskRunner) else None


@contextmanager
def spread() -> Iterator[None]:
    """On a cluster, let what is submitted meanwhile go to as many machines as there are: on each only one trains at a time."""
    if at_once() is not None:
        yield
        return
    from prefect_ray.context import remote_options

    with remote_options(scheduling_strategy="SPREAD"):
        yield
