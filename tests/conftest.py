"""What tests share: a home of their own, and one real MLflow and one real Prefect server a session."""

import contextlib
import os
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from free_ports import free_port
from hypothesis import settings

from tasks.records import Candidate, Dataset
from tasks.system.processes import end_all, family

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    # a flow of any test gives our loggers Prefect's handler, which else raises at whatever they say afterwards, in any other
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
    OMP_WAIT_POLICY="PASSIVE",
    OMP_NUM_THREADS="1",
)
# Images forbid Python to keep compiled code; then each of a thousand processes would compile all of ours anew.
sys.dont_write_bytecode = False
for name in (
    "PYTHONDONTWRITEBYTECODE",
    "MLFLOW_TRACKING_URI",
    "PREFECT_API_URL",
    "SLIPWAY_HOME",
    "SLIPWAY_PRIVATE_KEY",
    "SLIPWAY_PUBLIC_KEY",
    "SLIPWAY_KEY_PASSPHRASE",
    "SLIPWAY_SIGNER",
    "SLIPWAY_SIGNER_KEY",
):
    os.environ.pop(name, None)

_LEASH = "leash"

settings.register_profile("untimed", deadline=None)  # what a machine is slow at is no fault
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A server of the session takes seconds to start, whichever test asks first."""
    for item in items:
        if isinstance(item, pytest.Function) and {"mlflow_server", "prefect_server"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True, specname="pytest_collection_modifyitems")
def pytest_put_long_files_first(items: list[pytest.Item]) -> None:
    """Each process that runs tests gets a run of the list: it begins with files whose tests take minutes, so that none ends with one."""
    long: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if (limit := item.get_closest_marker("timeout")) and limit.args[0] >= 900:
            long.setdefault(item.path, []).append(item)
    begun = {id(item) for each in long.values() for item in each}
    rest = [item for item in items if id(item) not in begun]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        mine = [item for each in list(long.values())[worker::workers] for item in each]
        take = max(0, len(items) // workers - len(mine))
        ordered += mine + rest[:take]
        rest = rest[take:]
    items[:] = ordered + rest


def _restore_mlflow_address() -> Iterator[None]:
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(autouse=True)
def _mlflow_address() -> Iterator[None]:
    """What mlflow.set_tracking_uri leaves in the environment ends with the test."""
    yield from _restore_mlflow_address()


@pytest.fixture(autouse=True, scope="module")
def _mlflow_address_of_a_module() -> Iterator[None]:
    """What it leaves in a module's own fixtures ends with the module."""
    yield from _restore_mlflow_address()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh SLIPWAY_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SLIPWAY_HOME", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow.set_tracking_uri leaves it behind
    return folder


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and its first experiment, to copy: importing MLflow takes seconds."""
    from tasks.registry.tables import make_tables

    folder = _session_folder(tmp_path_factory, "mlflow-empty")
    path, made = folder / "mlflow.db", folder / "made"
    with FileLock(folder / "lock"):
        if not made.exists():
            make_tables(f"sqlite:///{path}")
            with contextlib.closing(sqlite3.connect(path)) as tables, tables:
                first = (str(folder / "mlruns" / "0"), time.time_ns() // 1_000_000)
                tables.execute(
                    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time) "
                    "VALUES (0, 'Default', ?1, 'active', ?2, ?2)",
                    first,
                )
            made.touch()
    return path


@pytest.fixture(scope="session")
def linear_digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Candidate]:
    """The digits, split, and a linear model of them in ONNX as the candidate fp32."""
    from proved import make_digits

    return make_digits(tmp_path_factory.mktemp("linear-digits"))


@pytest.fixture(scope="session")
def reads_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """Rows of text, a word and two numbers, read by codecs."""
    from coded import prepared

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("reads")
        patch.setenv("CODED_FOLDER", str(folder))
        yield prepared("reads", folder)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a real MLflow server on SQLite, one for the session."""
    from tasks.registry.tables import make_tables

    folder = _session_folder(tmp_path_factory, "mlflow")
    make_tables(f"sqlite:///{folder / 'mlflow.db'}")
    words = ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return _shared(folder, ["mlflow", "server", *words], environment, "/health")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The API address of a real Prefect server on SQLite, one for the session."""
    from infra.platform.prefect import database_url

    folder = _session_folder(tmp_path_factory, "prefect")
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url(folder),
    }

    def keep_empty() -> None:
        with contextlib.closing(sqlite3.connect(folder / "prefect.db")) as tables:
            with contextlib.closing(sqlite3.connect(folder / "empty.db")) as copy:
                tables.backup(copy)

    command = ["prefect", "server", "start", "--no-ui"]
    return _shared(folder, command, environment, "/api/health", keep_empty) + "/api"


@pytest.fixture(scope="session")
def empty_prefect_database(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with Prefect's tables and nothing of a flow, to copy: a server takes seconds to fill in what it has of its own."""
    return _session_folder(tmp_path_factory, "prefect") / "empty.db"


@pytest.fixture(scope="session")
def program(prefect_server: str) -> Iterator[Path]:
    """`slipway`, warm: forked from a process that has imported everything."""
    from warm import warm

    with warm({**os.environ, "PREFECT_API_URL": prefect_server}) as program:
        yield program


def _session_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """One for all processes that run the tests: pytest-xdist gives each a folder below the session's."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    return folder


def _shared(
    folder: Path,
    command: list[str],
    environment: dict[str, str],
    health: str,
    before_use: Callable[[], None] = lambda: None,
) -> str:
    """The server of this folder, started by whichever process asks first; `pytest_sessionfinish` ends it."""
    with FileLock(folder / "lock"):
        if (folder / "address").exists():
            return (folder / "address").read_text()
        port = free_port()
        words = [sys.executable, "-m", "tasks.system.processes", *command]
        words += ["--host", "127.0.0.1", "--port", str(port)]
        leash = (os.POSIX_SPAWN_OPEN, 0, str(folder.parent / _LEASH), os.O_RDONLY, 0)
        output = (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), os.O_WRONLY | os.O_CREAT, 0o600)
        ends = [leash, output, (os.POSIX_SPAWN_DUP2, 1, 2)]
        # not a Popen, which would complain at the end of a process that leaves its server to the others
        pid = os.posix_spawn(sys.executable, words, environment, file_actions=ends, setsid=True)
        (folder / "pid").write_text(str(pid))
        address = f"http://127.0.0.1:{port}"
        _wait(pid, address + health, folder / "log")
        before_use()
        (folder / "address").write_text(address)
        return address


def pytest_sessionstart(session: pytest.Session) -> None:
    """The session's servers read a pipe that this process alone can write to: they end with it, also after `kill -9`."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        leash = session.config._tmp_path_factory.getbasetemp() / _LEASH  # type: ignore[attr-defined]
        os.mkfifo(leash, 0o600)
        os.open(leash, os.O_RDWR)  # open as long as this process is there


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    base = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    for pid in base.glob("shared-*/pid"):
        end_all(family(int(pid.read_text())))


def _wait(pid: int, url: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pytest.fail(f"{url} ended with {os.waitstatus_to_exitcode(status)}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"{url} did not answer:\n{log.read_text()[-2000:]}")
