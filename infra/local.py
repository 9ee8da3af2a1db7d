"""`slipway up`: the Prefect and MLflow servers with their pages, a runner of our deployments and the model server, here."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks import signing
from tasks.errors import StepError
from tasks.settings import Settings

_START_SECONDS = 180
_STOP_SECONDS = 15


@dataclass(frozen=True)
class Service:
    """One process: what it is called, how it starts, and the address that answers when it is up."""

    name: str
    command: tuple[str, ...]
    url: str | None = None
    health: str = ""


def services(settings: Settings) -> tuple[list[Service], dict[str, str]]:
    """What to start, in this order, and the environment that ties it together. Loopback only."""
    prefect, mlflow, server = (_port(usual) for usual in (4200, 5000, 8080))
    home, host = settings.home, ("--host", "127.0.0.1")
    environment = {
        "SLIPWAY_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{prefect}/api",  # else the page asks port 4200
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "slipway",
        "DO_NOT_TRACK": "1",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle processes otherwise
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    stores = ("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}", "--artifacts-destination")
    python = (sys.executable, "-m")
    return [
        Service(
            "prefect",
            (*python, "prefect", "server", "start", *host, "--port", str(prefect)),
            f"http://127.0.0.1:{prefect}",
            "/api/health",
        ),
        Service(
            "mlflow",
            (
                *python,
                "mlflow",
                "server",
                "--workers",
                "1",
                *host,
                "--port",
                str(mlflow),
                *stores,
                (home / "mlartifacts").as_uri(),
            ),
            f"http://127.0.0.1:{mlflow}",
            "/health",
        ),
        Service("runner", (*python, "flows.deploy")),
        Service(
            "server",
            (*python, "infra.serving", "digits@champion", *host, "--port", str(server), "--home", str(home)),
            f"http://127.0.0.1:{server}",
            "/health",
        ),
    ], environment


@contextlib.contextmanager
def platform(settings: Settings) -> Iterator[dict[str, str]]:
    """Everything up, as addresses by name; all of it ended on leaving. Raises StepError with the log of what failed."""
    wanted, environment = services(settings)
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    signing.private_key()  # made now if there is none: the server checks with its other half
    signing.public_key()
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for together in (wanted[:2], wanted[2:]):  # the servers first, side by side, then what needs them
            for service in together:
                running[service.name] = _start(service, logs, environment)
            for service in together:
                _wait(service, running[service.name], logs)
        yield {service.name: service.url for service in wanted if service.url}
    finally:
        _stop(list(running.values()))


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end the platform in order; also where a shell's background job would ignore the first."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def stay() -> None:
    """Return at Ctrl-C or SIGTERM."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()


def _start(service: Service, logs: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with (logs / f"{service.name}.log").open("ab") as log:
        return subprocess.Popen(
            service.command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(service: Service, process: "subprocess.Popen[bytes]", logs: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while service.url and time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(service.url + service.health, timeout=2):
            return
        time.sleep(0.1)
    if process.poll() is not None or service.url:
        log = logs / f"{service.name}.log"
        last = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
        raise StepError(f"{service.name} did not start; the end of {log}: {last}")


def _stop(processes: "list[subprocess.Popen[bytes]]") -> None:
    """The last one first; what does not end in time is killed with all that it started."""
    for process in reversed(processes):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in reversed(processes):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(usual: int) -> int:
    """The usual port, or a free one when it is taken."""
    for port in (usual, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise StepError(f"Neither port {usual} nor any other on 127.0.0.1 is free.")
