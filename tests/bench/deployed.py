"""Deployed runs without a worker, and a webhook's receiver: what tests of approvals and automations share."""

import gc
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from prefect import Flow, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)

from flows.orchestration.automations import WEBHOOK_VARIABLE, apply

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 180


@contextmanager
def talking_to(api: str, home: Path) -> Iterator[None]:
    """This process as a worker's of that Prefect server. Runs done here leave a socket to the collector, which is called."""
    settings = {
        PREFECT_API_URL: api,
        PREFECT_LOCAL_STORAGE_PATH: home / "results",
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30,  # as our deployments have it, or they would be taken for lost
    }
    with temporary_settings(settings):
        yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def deploy(flow: Flow[..., Any], name: str, **settings: Any) -> Any:
    """The deployment FLOW/NAME with the tag that our deployments have; its id."""
    by_name = EntrypointType.MODULE_PATH  # as infra/prefect.yaml has it
    deployment: Any = flow.to_deployment(name, tags=["slipway"], entrypoint_type=by_name, **settings)
    return deployment.apply()


def start(deployment: str, **parameters: Any) -> FlowRun:
    """A scheduled run, as the UI makes it."""
    run: Any = run_deployment(deployment, parameters=parameters, timeout=0, as_subflow=False)
    assert isinstance(run, FlowRun)
    return run


def work(run: FlowRun, flow: Flow[..., Any]) -> FlowRun:
    """Do the run in this process, as a worker's process does, until it ends or gives itself back."""
    with suppress(Pause):
        run_flow(flow, flow_run=again(run), parameters=again(run).parameters, return_type="state")
    return again(run)


def process_of(run: FlowRun, api: str, home: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """What a worker starts for a run: a process of its own."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT__FLOW_RUN_ID": str(run.id),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        **environment,
    }
    return subprocess.Popen([sys.executable, "-m", "prefect.engine"], env=environment, cwd=ROOT)


def again(run: FlowRun) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def answer(run: FlowRun, decision: str, who: str, why: str) -> None:
    """Resume a run that waits, as the UI does."""
    with get_client(sync_client=True) as client:
        client.resume_flow_run(run.id, run_input={"decision": decision, "who": who, "why": why})


def runs_of(deployment_id: Any) -> list[FlowRun]:
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(deployment_filter=wanted)


def wait_until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


class Receiver(http.server.ThreadingHTTPServer):
    """What a chat's webhook is: it keeps every body that is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Keeper)
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def wait_for(self, event: str, text: str) -> dict[str, Any]:
        """The first body about `event` that says `text`; other tests' runs on the server are announced here too."""

        def found() -> dict[str, Any] | None:
            fitting = [body for body in self.bodies if body["event"] == event and text in body["text"]]
            return fitting[0] if fitting else None

        body: dict[str, Any] = wait_until(found, f"nothing said {event}, {text}")
        return body


class Keeper(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def automated() -> Iterator[Receiver]:
    """Our automations on the server that this process talks to, their webhook received here; gone afterwards."""
    with automating():
        yield from _automated()


def automating() -> FileLock:
    """One test's automations at a time: the server is shared by all processes that run tests."""
    return FileLock(Path(tempfile.gettempdir()) / f"slipway-test-automations-{os.getuid()}.lock")


def _automated() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    os.environ[WEBHOOK_VARIABLE] = receiver.url
    try:
        applied = apply()
        assert sorted(apply()) == sorted(applied) == sorted(names())  # a second time changes nothing
        yield receiver
    finally:
        del os.environ[WEBHOOK_VARIABLE]
        with get_client(sync_client=True) as client:
            for one in client.read_automations():
                client.delete_automation(one.id)
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def names() -> list[str]:
    with get_client(sync_client=True) as client:
        return [one.name for one in client.read_automations()]
