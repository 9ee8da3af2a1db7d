"""`python -m flows.deploy`: our deployments on the Prefect server, and a worker that runs them.

`slipway up` keeps it running. A team does the same with Prefect's own commands, which are called here.
"""

import hashlib
import shlex
import sys
from pathlib import Path

from prefect import get_client
from prefect.cli import app
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker

from flows import automations

POOL = "slipway"
FILE = Path(__file__).parent.parent / "infra" / "prefect.yaml"
_MARK = "slipway_deployed"


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
    """`prefect deploy --all` and our automations, unless the server has just these: a schedule that was paused in the UI stays paused."""
    digest = _digest()
    if Variable.get(_MARK) != digest:
        _prefect("deploy", "--all", "--prefect-file", str(FILE))
        automations.apply()
        Variable.set(_MARK, digest, overwrite=True)


def _digest() -> str:
    """Of the deployments' file and of the code that their forms are made from."""
    root = FILE.parent.parent
    sources = [FILE, *sorted(automations.FOLDER.glob("*")), *sorted(root.glob("[ft]*s/**/*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


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
