"""`slipway up` in a process of its own, and the Prefect API it serves, for the platform's tests and benchmark."""

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Platform:
    """Everything that `slipway up` starts, with `home` as SLIPWAY_HOME, said in `folder`; ended with the block.

    Its Prefect is asked with `account` (name:password), if there is one.
    """

    def __init__(self, home: Path, folder: Path, account: str = "", **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "SLIPWAY_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self._folder = folder
        self._headers = {"Content-Type": "application/json"}
        if account:
            self._headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "flows.cli", "up"]
        with (self.home / "up.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self._folder, env=self.environment, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        try:
            self._read_addresses()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after the signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to it, whatever its parent is by now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLIPWAY_HOME") == str(self.home):
                    found.append(process)
        return found

    def status(self) -> Any:
        """What `slipway status --json` prints, and its exit code."""
        done = self.slipway("status", "--json")
        return done.returncode, json.loads(done.stdout)

    def slipway(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command beside it, of the same home."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self._folder, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """The Prefect API's answer."""
        request = urllib.request.Request(
            f"{self.addresses['prefect']}/api{path}",
            None if method == "GET" else json.dumps(body or {}).encode(),
            self._headers,
            method=method,
        )
        return self.until(lambda: _answer(request), f"an answer of {path}")[0]

    def deployment(self, name: str) -> Any:
        return self.ask(f"/deployments/name/{name}", method="GET")

    def start(self, name: str, parameters: dict[str, Any]) -> str:
        """Start a deployment; the run's id."""
        made = self.ask(
            f"/deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters}
        )
        return str(made["id"])

    def runs(self, deployment: str) -> list[Any]:
        found = self.ask(
            "/flow_runs/filter", {"deployments": {"id": {"any_": [self.deployment(deployment)["id"]]}}}
        )
        assert isinstance(found, list)
        return found

    def until(self, found: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """What `found` gives, as soon as it is something."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if result := found():
                return result
            time.sleep(0.5)
        raise AssertionError(f"waited {patience} s for {what}:\n{self.log('worker')}")

    def ended(self, run: str, patience: float = PATIENCE) -> Any:
        """The run, when it has ended."""

        def look() -> Any:
            found = self.ask(f"/flow_runs/{run}", method="GET")
            return found if found["state_type"] in ENDED else None

        return self.until(look, f"run {run} to end", patience)

    def artifact(self, run: str, kind: str) -> str:
        """The newest artifact of a kind that a run left."""
        found = self.ask(
            "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}, "type": {"any_": [kind]}}}
        )
        return str(found[-1]["data"]) if found else ""

    def logs(self, run: str) -> list[str]:
        """What a run's page shows under Logs, in order."""
        asked = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [line["message"] for line in self.ask("/logs/filter", asked)]

    def log(self, service: str) -> str:
        path = self.home / "logs" / f"{service}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def _read_addresses(self) -> None:
        assert self.process.stdout is not None
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            line = self.process.stdout.readline().decode() if ready else ""
            if not line:
                raise AssertionError(f"it did not come up:\n{(self.home / 'up.log').read_text()[-3000:]}")
            if line.startswith("Ctrl-C"):
                return
            if line.split()[1:2] and line.split()[1].startswith("http"):
                name, address, *_ = line.split()
                self.addresses[name] = address


def _answer(request: urllib.request.Request) -> tuple[Any] | None:
    """The body, read; None when the server is too busy and asks to be asked again, as Prefect's own client would."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            return (json.loads(text) if text else None,)
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return None
    except TimeoutError:
        if request.get_method() != "GET" and not request.full_url.endswith("/filter"):
            raise  # it may have been done
        return None
