"""Our deployments on a Prefect server: registered again after a change, and what a person set up there is left alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deployed
import pytest
from checkout import ROOT
from prefect import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule

from flows.orchestration.embedded import EmbeddedServer

CODE = "from pathlib import Path; from flows.orchestration import deployment as d; d.make_pool(Path('.')); d.deploy()"


@pytest.fixture
def api(home: Path, empty_prefect_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Prefect server of its own: other tests look through the deployments of theirs."""
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_prefect_database, home / "prefect.db")
    monkeypatch.setenv("PREFECT_API_URL", "")  # put back afterwards: the server's start sets it
    server = EmbeddedServer(home)
    server.start()
    try:
        server.wait()
        with deployed.talking_to(server.api_url, home):
            yield server.api_url
    finally:
        server.stop()


def deploy(api: str, webhook: str) -> None:
    """As the worker of `slipway up` does; another webhook is a change, after which all is registered again."""
    environment = {**os.environ, "PREFECT_API_URL": api, "SLIPWAY_WEBHOOK_URL": webhook}
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", CODE],
        env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def schedules(deployment: str) -> list[DeploymentSchedule]:
    with get_client(sync_client=True) as client:
        return list(client.read_deployment_by_name(deployment).schedules)


@pytest.mark.slow
def test_a_schedule_that_a_person_made_or_switched_outlives_a_new_registration(api: str) -> None:
    deploy(api, "http://127.0.0.1:9/first")
    assert [schedule.active for schedule in schedules("retrain/digits")] == [True]
    assert [schedule.active for schedule in schedules("monitor/digits")] == [False]
    with get_client(sync_client=True) as client:
        form = client.read_deployment_by_name("retrain/digits").parameter_openapi_schema or {}
    assert form["properties"]["training"]["default"]["epochs"] == 25 and form["properties"]["workload"][
        "enum"
    ] == ["digits"]
    with get_client(sync_client=True) as client:
        for name, active in (("retrain/digits", False), ("monitor/digits", True)):
            deployment = client.read_deployment_by_name(name)
            client.update_deployment_schedule(deployment.id, deployment.schedules[0].id, active=active)
        theirs = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 4 * * 1"), active=True)
        client.create_deployment_schedules(client.read_deployment_by_name("retrain/any").id, [theirs])
    deploy(api, "http://127.0.0.1:9/second")
    assert [schedule.active for schedule in schedules("retrain/digits")] == [False]
    assert [schedule.active for schedule in schedules("monitor/digits")] == [True]
    assert [schedule.schedule.cron for schedule in schedules("retrain/any")] == ["0 4 * * 1"]
