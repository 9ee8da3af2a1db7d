"""Retrainings that end as they are told: forked from a process that has imported everything, so that one takes three seconds.

python tests/bench/retrainings.py      serves: a line of JSON asks for one, or for what a home has come to; a line of JSON answers
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import faulty_disk
from campaign import Broken
from faulty_disk import NOTHING, Fault
from serving_peers import free_port

DOTS = str(Path(__file__).with_name("dots.py"))

_LONGEST = 300.0

IMPORTED = (
    "flows.cli.run",
    "flows.cli.versions",
    "flows.retrain",
    "matplotlib.figure",
    "mlflow.onnx",
    "onnxruntime",
    "onnxscript",
    "pandera.pandas",
    "sklearn.datasets",
    "torch._dynamo",
    "torch.onnx._internal.exporter._core",
)
"""What takes seconds to import, and is by any retraining."""


@dataclass(frozen=True)
class Ended:
    """How a retraining ended: `outcome` as `slipway run --json` says it; or `sentence`, what a user reads; or `bug`, a traceback."""

    exit_code: int
    outcome: dict[str, Any] | None = None
    sentence: str = ""
    bug: str = ""
    calls: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Of all its processes that have ended."""

    @property
    def killed(self) -> bool:
        return self.exit_code == -9


class Retrainings:
    """A process to fork from, and the home that all of them have in turn."""

    def __init__(self, scratch: Path, prefect_api: str) -> None:
        self.scratch, self.home = scratch, scratch / "home"
        environment = faulty_disk.preloaded() | {
            "PREFECT_API_URL": prefect_api,
            "PREFECT_HOME": str(scratch / "prefect"),
            "PREFECT_LOCAL_STORAGE_PATH": str(self.home / "results"),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "slipway",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
            "SLIPWAY_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        self._log = (scratch / "retrainings.log").open("ab")
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    def fresh_home(self, of: Path) -> None:
        """A copy of another home, at the same path for all: nothing is new but what is in it."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(of, self.home, symlinks=True)

    def run(
        self, *settings: str, reference: str = DOTS, fault: Fault = NOTHING, log: Path | None = None
    ) -> Ended:
        asked = {"reference": reference, "settings": settings, "fault": fault, "log": log and str(log)}
        return Ended(**self._ask("retrain", asked))

    def state(self, model: str = "dots") -> dict[str, Any]:
        """What the home has come to: see `state_of`."""
        ended = self._ask("state_of", {"model": model})
        assert "bug" not in ended, ended["bug"]
        state: dict[str, Any] = ended["state"]
        return state

    def _ask(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None and self._server.stdout is not None
        line = b""
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.write(f"{json.dumps([name, asked])}\n".encode())
            self._server.stdin.flush()
            line = self._server.stdout.readline()
        if not line:
            said = (self.scratch / "retrainings.log").read_text()[-3000:]
            raise Broken(f"the process from which retrainings are forked has ended: {said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()
        self._log.close()


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """A Prefect of its own, for where the session's is not at hand; its address."""
    folder.mkdir()
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--no-services",  # as the one that a run starts for itself; they take a tenth of a core
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2).close()
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait()


def serve() -> None:
    """Fork for every line that asks for a retraining, and say how it ended."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a pipeline prints is no answer
    functions = {function.__name__: function for function in (retrain, state_of)}
    import_all([*IMPORTED])
    read_operators()
    measure_briefly()
    for line in sys.stdin:
        (name, asked), (reader, writer) = json.loads(line), os.pipe()
        started, before = time.monotonic(), os.times()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.close(answers)
            said = _saying(functions[name], asked)
            with os.fdopen(writer, "w") as pipe:
                json.dump(said, pipe)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = json.loads(pipe.read() or b"{}")
        import_all(said.pop("modules", []))
        ended = {"exit_code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])} | said
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        ended |= {"seconds": round(time.monotonic() - started, 3), "cpu": round(cpu, 3)}
        os.write(answers, f"{json.dumps(ended)}\n".encode())


def _saying(function: Callable[..., dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return function(**asked)
    except BaseException:
        return {"bug": traceback.format_exc()[-6000:]}


def import_all(names: list[str]) -> None:
    """What a retraining had imported in the end, so that the next ones need not; imports start no thread that a fork would lack."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                import_module(name)


def read_operators() -> None:
    """What takes each export a second to look up anew: how the exporter says torch's operators, and takes them apart."""
    with contextlib.suppress(ImportError, AttributeError):
        import_module("tasks.onnx.exporters")._read_operators_once()
        registration = import_module("torch.onnx._internal.exporter._registration")
        opset = import_module("torch.onnx._constants").ONNX_DEFAULT_OPSET  # which an export asks for
        registration.ONNXRegistry.from_torchlib(opset_version=opset)
    import_module("torch.export").default_decompositions().items()


def measure_briefly() -> None:
    """How fast a file is decides nothing that is looked at here, and to measure it takes seconds of every run."""
    import_module("tasks.proof.validation").MEASURE_SECONDS = 0.02
    import_module("tasks.proof.speed")._WARM_SECONDS = 0.01


def retrain(reference: str, settings: list[str], fault: list[Any], log: str | None) -> dict[str, Any]:
    """A whole run, as `slipway run REFERENCE --set …` has it once Prefect is there."""
    from flows.cli.failures import in_a_sentence
    from flows.cli.run import run_here
    from tasks.errors import UserError

    home = Path(os.environ["SLIPWAY_HOME"])
    faulty_disk.arm(home, Fault(*fault), None if log is None else Path(log))
    said: dict[str, Any] = {}
    try:
        with in_a_sentence():
            outcome = run_here(reference, tuple(settings), force=False, promote=True, quiet=True)
        said["outcome"] = outcome.model_dump(mode="json")
    except UserError as error:
        said["sentence"] = str(error)
    except BaseException:
        said["bug"] = traceback.format_exc()[-6000:]
    modules = [name for name in sys.modules if not name.startswith(("__", "slipway_workload"))]
    return said | {"calls": faulty_disk.calls(), "modules": modules}


def state_of(model: str) -> dict[str, Any]:
    """What must be the same however often a run was ended: versions, runs, aliases, decisions, curves; and what is left lying about."""
    from tasks.promotion.ledger import read_ledger
    from tasks.promotion.verification import verify
    from tasks.registry.registry import Registry
    from tasks.registry.tags import DECISION_TAG
    from tasks.settings import load_settings

    settings = load_settings()
    registry, ledger = Registry(settings), read_ledger(Registry(settings), model, whole=True)
    client, experiment = registry.client, registry.experiment(model)
    runs = client.search_runs([experiment])
    numbers = sorted(int(v.version) for v in client.search_model_versions(f"name='{model}'"))
    assert numbers, "there is no version"
    versions = [registry.version(model, number) for number in numbers]
    of_run = {v.run_id: v.version for v in versions if v is not None}
    verified = verify(settings, f"{model}@champion")
    home = settings.home
    return {
        "state": {
            "versions": [[v.version, v.sha256, registry.tags(v).get(DECISION_TAG)] for v in versions if v],
            "runs": sorted([of_run.get(run.info.run_id, 0), run.info.status] for run in runs),
            "curves": {
                of_run.get(run.info.run_id, 0): [
                    [point.step, point.value]
                    for point in client.get_metric_history(run.info.run_id, "validation/score")
                ]
                for run in runs
            },
            "inputs": {of_run.get(run.info.run_id, 0): len(run.inputs.dataset_inputs) for run in runs},
            "params": {of_run.get(run.info.run_id, 0): len(run.data.params) for run in runs},
            "models": sorted(
                [of_run.get(logged.source_run_id, 0), logged.name, str(logged.status)]
                for logged in client.search_logged_models([experiment])
            ),
            "aliases": {
                name: registry.number(model, name) for name in ("champion", "previous", "challenger")
            },
            "ledger": [[entry.action, entry.from_version, entry.to_version] for entry in ledger.entries],
            "problems": [*ledger.problems, *([str(ledger.unfinished)] if ledger.unfinished else [])],
            "verified": [verified.version, verified.sha256],
            "candidates": _candidates(home / "work" / model / "package" / "evidence.json"),
            "left": sorted(
                re.sub(r"[0-9a-z_]{8}(?=\.tmp|$)", "*", str(path.relative_to(home)))
                for path in home.rglob("*")
                if path.name.endswith((".tmp", "-journal", "-wal"))
                or path.name.startswith((".prove", ".probe", ".going", "tmp"))
            ),
        }
    }


def _candidates(evidence: Path) -> dict[str, str]:
    """Of the last run, by their names: digests of all files that it measured."""
    reports = json.loads(evidence.read_bytes())["candidates"]
    return {report["name"]: report["sha256"] for report in reports}


if __name__ == "__main__":
    serve()
