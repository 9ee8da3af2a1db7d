"""An MLflow server on SQLite, as people start one. It answers in a process of its own: what is done to it is done to all of them."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from free_ports import free_port

from tasks.system.processes import start_tied
from tasks.system.urls import answers

_SECONDS = 180


class MlflowProcess:
    """One port and one database however often it starts; it ends with whoever has started it."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where mlflow.db, artifacts and mlflow.log are, or come to be."""
        port = free_port()
        self.url, self._log = f"http://127.0.0.1:{port}", folder / "mlflow.log"
        self._command = ("mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port))
        self._command += ("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}")
        self._command += ("--artifacts-destination", (folder / "artifacts").absolute().as_uri())
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._environment = {**os.environ, **quiet}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Returns when it answers. Raises AssertionError, with its last words, when it does not."""
        with self._log.open("ab") as log:
            self._process = start_tied(self._command, env=self._environment, stdout=log, stderr=log)
        end = time.monotonic() + _SECONDS
        while not answers(f"{self.url}/health"):
            alive = self._process.poll() is None and time.monotonic() < end
            assert alive, f"{self.url} did not answer:\n{self._log.read_text()[-2000:]}"
            time.sleep(0.2)
        return self

    def send(self, number: signal.Signals) -> None:
        """A signal to all of its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """At once; `start` begins it again."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
