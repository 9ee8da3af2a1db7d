"""A promotion that waits for a person: the run that asks gives its process back, and any other process goes on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import promotions
import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from tasks.ledger import LedgerEntry, read_ledger
from tasks.promotion import promote as promote_now
from tasks.registry import Registry
from tasks.settings import load_settings

ROOT = Path(__file__).parent.parent


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path, prefect_server: str) -> Iterator[Registry]:
    """A registry with a serving version, in a process that talks to a Prefect server that has our deployment."""
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    made = Registry(load_settings())
    promote_now(made, promotions.register(made, "digits", home, 1.0), against=None, why="the first")
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        deploy()
        yield made


def deploy() -> None:
    from flows.promote import promote

    deployment: Any = promote.to_deployment("promote")
    deployment.apply()


def start(version: int, **parameters: Any) -> FlowRun:
    run: Any = run_deployment(
        "promote/promote",
        parameters={"model": "digits", "version": version, "reason": "nightly", **parameters},
        timeout=0,
        as_subflow=False,
    )
    assert isinstance(run, FlowRun)
    return run


def work(run: FlowRun, prefect_server: str, home: Path) -> FlowRun:
    """What a worker does with a scheduled run: a process of its own, until it ends or gives itself back."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server,
        "PREFECT__FLOW_RUN_ID": str(run.id),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
    }
    subprocess.run([sys.executable, "-m", "prefect.engine"], env=environment, cwd=ROOT, check=False)
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def answer(run: FlowRun, decision: str, who: str, why: str) -> None:
    with get_client(sync_client=True) as client:
        client.resume_flow_run(run.id, run_input={"decision": decision, "who": who, "why": why})


def last_entry(registry: Registry) -> LedgerEntry:
    return read_ledger(registry, "digits").entries[-1]


def test_a_run_waits_without_a_process_and_another_process_goes_on(
    registry: Registry, prefect_server: str, home: Path
) -> None:
    promotions.register(registry, "digits", home, 2.0, champion=1)
    run = work(start(2, ask=True), prefect_server, home)
    assert run.state is not None and run.state.type == StateType.PAUSED and run.state.name == "Suspended"
    answer(run, "approve", "ada", "checked by hand")
    run = work(run, prefect_server, home)
    assert run.state is not None and run.state.type == StateType.COMPLETED, run.state
    entry = last_entry(registry)
    assert (entry.action, entry.to_version, entry.who, entry.why) == ("promote", 2, "ada", "checked by hand")
