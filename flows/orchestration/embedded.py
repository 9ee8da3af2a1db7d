"""A Prefect server of our own for one command: started early, quiet, and gone when the command is, however it ends."""

import os
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from infra.platform.prefect import client_environment, database_url
from infra.platform.services import RunningService, Service
from tasks.errors import StepError
from tasks.system.urls import answers

LEAST_BYTES = 10_000_000

_START_SECONDS = 120
"""Prefect's own limit of 20 s is missed where two cores are busy."""

_STOP_SECONDS = 3


class EmbeddedServer:
    """`start` returns at once, so that imports and the server's start overlap; `wait` before the first flow."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = FileLock(home / "logs" / "prefect-server.lock")
        port = _free_port()
        self.api_url = f"http://127.0.0.1:{port}/api"
        command = ("flows.orchestration.prefect_server", str(port), "--no-accounts")
        service = Service("prefect-server", command, health=f"{self.api_url}/health", keys=False)
        self._server = RunningService(service, home / "logs" / "prefect-server.log")

    def start(self) -> None:
        """Start the server on a free loopback port and point this process's Prefect at it.

        One at a time until it answers: two that make the tables of a new home would be in each other's way.
        """
        self._server.log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout):  # then it is tried beside the other, which may hang
            self._lock.acquire(timeout=_START_SECONDS)
        self._server.log.write_bytes(b"")
        self._server.start(_server_environment(self._home))
        os.environ["PREFECT_API_URL"] = self.api_url

    @property
    def pid(self) -> int | None:
        return self._server.pid

    def wait(self) -> None:
        """Return when the server answers. Raises StepError, naming its log, when it does not."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._server.runs:
            if self.is_up():
                self._lock.release()
                return
            time.sleep(0.05)
        raise StepError(
            f"The embedded Prefect server did not start{self._why()}; its log is {self._server.log}. Set PREFECT_API_URL to use a running one."
        )

    def _why(self) -> str:
        """A disk that is full, which a log on it cannot say, else the log's last line."""
        free = shutil.disk_usage(self._home).free
        if free < LEAST_BYTES:
            return f": only {free / 1e6:.1f} MB are free in {self._home}, make room or set SLIPWAY_HOME"
        lines = self._server.last_lines(1)
        return f" ({lines[-1]})" if lines else ""

    def is_up(self) -> bool:
        return answers(self._server.service.health)

    def stop(self) -> None:
        """End the server; its database stays."""
        self._lock.release()
        self._server.stop(_STOP_SECONDS)


def _server_environment(home: Path) -> dict[str, str]:
    return {
        **client_environment(home),
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url(home),
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # a hundred kinds of forms that a run needs none of: slipway up does
        "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # or every integration is imported to see whether there are new ones
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT__SERVER_WEBSERVER_ONLY": "1",  # what `prefect server start --no-services` sets
        "PREFECT_API_URL": "",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
