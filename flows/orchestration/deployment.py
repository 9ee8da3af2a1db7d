"""`python -m flows.orchestration.deployment`: our deployments on the Prefect server, and a worker that runs them.

`slipway up` keeps it running. A team does the same with Prefect's own commands, which are called here.
"""

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from prefect import get_client
from prefect.cli import app
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.exceptions import ObjectAlreadyExists
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker

from flows.orchestration import automations
from flows.orchestration.own_parts import FILE, POOL
from flows.orchestration.reachability import in_a_sentence
from tasks.errors import exiting_in_a_sentence

_MARK = "slipway_deployed"


@exiting_in_a_sentence()
@in_a_sentence()
def main() -> None:
    """Register what has changed, then work until ended."""
    make_pool(Path.cwd())
    deploy()
    _prefect("worker", "start", "--pool", POOL, "--limit", "2", "--with-healthcheck")


def make_pool(folder: Path) -> None:
    """The work pool, whose runs start in `folder`: paths to workload files are relative to where `slipway up` was said."""
    template = ProcessWorker.get_default_base_job_template()
    defaults = {"working_dir": str(folder), "command": shlex.join([sys.executable, "-m", "prefect.engine"])}
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = value
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        except ObjectAlreadyExists:
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def deploy() -> None:
    """`prefect deploy --all` and our automations, unless the server has just these. Schedules stay as a person switched them."""
    digest = _digest()
    if Variable.get(_MARK) == digest:
        return
    with get_client(sync_client=True) as client:
        switched = {key: schedule.active for key, schedule in _schedules(client)}
        _prefect("deploy", "--all", "--prefect-file", str(FILE))
        subprocess.run([sys.executable, "-m", "flows.orchestration.filled_forms"], check=True)
        for key, schedule in _schedules(client):
            if schedule.active != switched.get(key, schedule.active):
                client.update_deployment_schedule(key[0], schedule.id, active=switched[key])
    automations.apply()
    Variable.set(_MARK, digest, overwrite=True)


def _schedules(client: SyncPrefectClient) -> Iterator[tuple[tuple[UUID, str | None], DeploymentSchedule]]:
    for deployment in client.read_deployments():
        for schedule in deployment.schedules:
            yield (deployment.id, schedule.slug), schedule


def _digest() -> str:
    """Of the deployments' file and of the code that their forms are made from."""
    code = [path for top in ("flows", "tasks") for path in sorted((FILE.parent.parent / top).rglob("*.py"))]
    sources = [FILE, *sorted(automations.FOLDER.glob("*")), *code]
    webhook = os.environ.get(automations.WEBHOOK_VARIABLE, "").encode()
    return hashlib.sha256(b"".join([webhook, *(path.read_bytes() for path in sources)])).hexdigest()


def _prefect(*words: str) -> None:
    """Prefect's own command, in this process: importing all of it a second time would take seconds."""
    sys.argv = ["prefect", "--no-prompt", *words]
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    main()
