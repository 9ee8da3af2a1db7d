"""Where a flow's candidates are made: in threads here, or on a Ray cluster; `SLIPWAY_TASK_RUNNER` says which."""

import os
from typing import Any, cast

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
