"""A real model server in a process of its own, for the server's tests and benchmarks."""

import datetime
import hashlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120


class Answer:
    """What came back: status, headers with lower-case names, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def version(self) -> str | None:
        return self.headers.get("x-model-version")


class ServerProcess:
    """`python -m infra.serving …`, ended with the block it is used in."""

    def __init__(
        self, *models: str, home: Path, ready: bool = True, ahead: Path | None = None, **options: Any
    ) -> None:
        """`ahead`: a folder that Python looks into before the project."""
        flags = []
        for name, value in {"port": 0, "home": home, **options}.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                values = value if isinstance(value, tuple) else (value,)
                flags += [f"--{flag}={each}" for each in values]
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "serve.log"
        path = os.pathsep.join(map(str, [ahead, ROOT] if ahead else [ROOT]))
        environment = {**os.environ, "PYTHONPATH": path, "SLIPWAY_HOME": str(home)}
        self.log_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.serving", *models, *flags],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        self.url = ""
        self.connection: http.client.HTTPConnection | None = None
        if ready:
            self.wait_ready()

    def wait_ready(self, patience: float = 180) -> None:
        """Until it says where it is; RuntimeError with its log when it does not."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], patience)
        if not readable:
            self.process.kill()
        line = self.process.stdout.readline() if readable else ""
        if not line:
            raise RuntimeError(
                f"the server ended with {self.process.wait()}:\n{self.log.read_text()[-3000:]}"
            )
        self.said = json.loads(line)
        self.url = self.said["url"]

    def wait_listening(self) -> None:
        """Until its log says where it listens, which it does before it has a model."""

        def said() -> str:
            return self.log.read_bytes()[self.log_before :].decode()

        wait_for(lambda: self.process.poll() is not None or " listening on http" in said())
        self.url = said().rpartition(" listening on ")[2].split()[0]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection that is kept."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
            try:
                self.connection.request(method, path, body, sent | (headers or {}))
                answer = Answer(self.connection.getresponse())
            except (ConnectionError, http.client.BadStatusLine):
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise
            else:
                if answer.headers.get("connection") == "close":
                    self.connection.close()
                    self.connection = None
                return answer
        raise AssertionError

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("POST", path, body, headers)

    def metric(self, start: str) -> float:
        """The sum of the samples that start so."""
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))

    def children(self, module: str) -> list[int]:
        """Processes of the server that run a module."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
                parent = int((path.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == self.process.pid and module.encode() in words:
                found.append(int(path.parent.name))
        return found

    def stop(self, number: int = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """End it; its exit code."""
        if self.connection is not None:
            self.connection.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(patience)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_for(condition: Any, patience: float = PATIENCE, pause: float = 0.02) -> Any:
    """Poll until `condition()` is true; what it gave."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(pause)
    raise AssertionError(f"not true within {patience} s")


def publish(uri: str, name: str, folder: Path, aliases: Sequence[str] = (), *, permitted: bool = True) -> str:
    """Put a model folder into a registry as a new version, with a permit where it is sealed; its number."""
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(uri, uri)
    for create, wanted in ((client.create_experiment, "serving"), (client.create_registered_model, name)):
        try:
            create(wanted)
        except MlflowException as error:  # tests beside this one share the registry
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    run = client.create_run(client.get_experiment_by_name("serving").experiment_id)
    client.log_artifacts(run.info.run_id, str(folder), "model")
    model = folder / "model.onnx"
    tags = {"slipway.sha256": hashlib.sha256(model.read_bytes()).hexdigest()} if model.is_file() else {}
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags)
    if permitted and (folder / "evidence.sig").is_file():
        permit(uri, name, version.version)
    for alias in aliases:
        client.set_registered_model_alias(name, alias, version.version)
    return str(version.version)


def move(uri: str, name: str, alias: str, version: str) -> None:
    """Move an alias."""
    import mlflow

    mlflow.MlflowClient(uri, uri).set_registered_model_alias(name, alias, version)


def permit(uri: str, name: str, version: str, **what: Any) -> str:
    """Write the statement that a version may serve, signed with the key of SLIPWAY_HOME; `what` it says otherwise. Its text."""
    import mlflow

    from tasks.proof.permit import PERMIT_TAG, Permit, issue
    from tasks.system.signing import private_key

    client = mlflow.MlflowClient(uri, uri)
    registered = client.get_model_version(name, version)
    usual = {
        "model": name,
        "version": int(version),
        "run_id": registered.run_id,
        "model_sha256": registered.tags["slipway.sha256"],
        "evidence_sha256": "",
        "policy_sha256": "",
        "granted": True,
        "basis": "gate",
        "serial": 1,
        "at": datetime.datetime.now(datetime.UTC),
        "by": "ada",
        "why": "it is good",
    }
    text = issue(Permit.model_validate(usual | what), private_key())
    client.set_model_version_tag(name, version, PERMIT_TAG, text)
    return text
