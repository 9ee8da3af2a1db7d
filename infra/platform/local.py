"""`slipway up`: the Prefect and MLflow servers with their pages, a worker for our deployments and the model server, here."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from infra.platform.accounts import accounts
from infra.platform.ports import choose_ports
from infra.platform.prefect import client_environment, database_url
from infra.platform.services import Service, ServiceGroup
from infra.platform.state import State, read_state, write_state
from tasks.errors import UserError
from tasks.settings import Settings
from tasks.system import signing
from tasks.workloads.catalogue import names

_STOP_SECONDS = 10

_LOOK_SECONDS = 0.5


def services(home: Path, ports: dict[str, int]) -> list[Service]:
    """What runs, and what each needs; everything listens on loopback."""
    at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    artifacts = (home / "mlartifacts").as_uri()
    here = ("--host", "127.0.0.1", "--port")
    return [
        Service(
            "prefect",
            ("flows.orchestration.prefect_server", str(ports["prefect"])),
            health=f"{at['prefect']}/api/health",
            url=at["prefect"],
            keys=False,
        ),
        Service(
            "mlflow",
            (
                "infra.platform.mlflow_server",
                str(ports["mlflow"]),
                f"sqlite:///{home / 'mlflow.db'}",
                artifacts,
            ),
            health=f"{at['mlflow']}/health",
            url=at["mlflow"],
            keys=False,
        ),
        Service(
            "server",
            (
                "infra.serving",
                *models(home),
                "--all",
                *here,
                str(ports["server"]),
                "--poll",
                "2",
                "--record",
                "1",
                *("--link", f"Prefect={at['prefect']}", "--link", f"MLflow={at['mlflow']}"),
            ),
            health=f"{at['server']}/health",
            url=at["server"],
            after=("mlflow",),
        ),
        Service(
            "worker",
            ("flows.orchestration.deployment",),
            health=f"{at['worker']}/health",
            after=("prefect", "mlflow"),
        ),
    ]


def models(home: Path) -> list[str]:
    """What is said to have no champion yet: the workloads that come with Slipway, and what was trained here."""
    trained = [folder.name for folder in (home / "work").glob("*") if folder.is_dir()]
    return [f"{name}@champion" for name in sorted({*names(), *trained})]


def environment(home: Path, ports: dict[str, int]) -> dict[str, str]:
    """What ties them together, and keeps them quiet and small."""
    api = f"http://127.0.0.1:{ports['prefect']}/api"
    return {
        **client_environment(home),
        **accounts(home, os.environ),
        "SLIPWAY_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,  # else the page asks port 4200
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url(home),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # after 90 days; MLflow and the ledger remember
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(ports["worker"]),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['mlflow']}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle processes otherwise
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@contextlib.contextmanager
def platform(settings: Settings, answered: Callable[[str], None] = lambda _: None) -> Iterator[ServiceGroup]:
    """Everything up, each part told to `answered`; all of it ended on leaving. Raises UserError when it is up already, StepError when a part does not start."""
    home = settings.home
    with _alone(home):
        ports = choose_ports(home)
        signing.signer()  # made now if there is none: the server checks with its other half
        signing.public_key()
        group = ServiceGroup(services(home, ports), home / "logs", environment(home, ports))
        try:
            group.start(answered)
            _write_down(home, group)
            yield group
        finally:
            group.stop(_STOP_SECONDS)
            write_state(home, None)


def stay(home: Path, group: ServiceGroup) -> None:
    """Start again what dies, until Ctrl-C (KeyboardInterrupt) or SIGTERM (SystemExit, with code 0)."""
    while True:
        if group.revive():
            _write_down(home, group)
        time.sleep(_LOOK_SECONDS)


def _write_down(home: Path, group: ServiceGroup) -> None:
    """What is up, for `slipway status`."""
    services = tuple(kept.state() for kept in group.kept)
    write_state(
        home, State(home=home, pid=os.getpid(), created=psutil.Process().create_time(), services=services)
    )


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end the platform in order; also where a shell's background job would ignore the first."""

    def end(number: int, _: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # once is enough: what follows is the way out
        if number == signal.SIGTERM:
            sys.exit(0)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One platform a home: two would share its databases."""
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        state = read_state(home)
        whose = f", by process {state.pid}" if state else ""
        raise UserError(f"{home} is already up{whose}: see `slipway status`, or set SLIPWAY_HOME.") from error
    try:
        yield
    finally:
        lock.release()
