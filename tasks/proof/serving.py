"""The sea trial: the real server on these very bytes, asked over HTTP as it will be asked, and always stopped."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Timer
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tasks.onnx.session import open_session
from tasks.records import OnnxModel, ServingCheck
from tasks.system.processes import end_all, family, start_tied

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray[Any, Any]]

TOLERANCE = 1e-4
"""Largest difference from ONNX Runtime in process, as a share of the largest output: JSON keeps float32 exactly."""

_START_SECONDS = 90

_STOP_SECONDS = 15

_SINGLES, _BATCHES, _BATCH = 60, 5, 64


class ServingError(Exception):
    """The server did not start, or did not answer: said in the trial's problems, not raised to users."""


def try_on_server(package: Path, name: str, onnx_model: OnnxModel, inputs: "Inputs") -> ServingCheck:
    """Serve the MLflow folder `package` as `name`, send it recorded rows singly and in batches, compare every answer.

    Anything that goes wrong is a problem of the trial; the server is gone when this returns or raises.
    """
    started = time.perf_counter()
    rows = len(next(iter(inputs.values())))
    singles = [(start, start + 1) for start in range(min(_SINGLES, rows))]
    batches = [(start, min(start + _BATCH, rows)) for start in range(0, min(_BATCHES * _BATCH, rows), _BATCH)]
    try:
        with serve(package, name) as (url, pid):
            ready = time.perf_counter() - started
            exchange = _Exchange(url, onnx_model, inputs)
            with closing(exchange):
                for start, end in (*singles, *batches):
                    exchange.compare(start, end)
            memory = _resident_bytes(pid)
    except (ServingError, OSError, HTTPException, ValueError) as error:
        return ServingCheck(requests=0, rows=0, max_abs=0, single_p50_ms=0, single_p95_ms=0, batch=_BATCH, batch_p50_ms=0,
                     peak_bytes=0, start_seconds=0, problems=(f"sea trial: {error}",))  # fmt: skip
    return exchange.result(len(singles), memory, ready)


@contextmanager
def serve(package: Path, name: str) -> Iterator[tuple[str, int]]:
    """The server's address and process id, once it is ready. It serves from local bytes and needs no registry."""
    with tempfile.TemporaryDirectory(prefix="slipway-trial-") as home:
        log = Path(home) / "log"
        with log.open("wb") as errors:
            process = start_tied(  # it ends with us, also when we are killed
                ("infra.serving", f"{name}={package}", "--port", "0", "--home", home),
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).parent.parent.parent,
            )
        try:
            yield _address(process, log), process.pid
        finally:
            _stop(process)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Read the line that says it is ready; a server that says nothing for long is ended."""
    assert process.stdout is not None
    timer = Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line:
        reason = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise ServingError(f"the server did not start: {reason[:300]}")
    url: str = json.loads(line)["url"]
    return url


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """The server ends its own processes in order; whatever is left of them goes too."""
    descendants = family(process.pid)[1:]
    end_all([process], _STOP_SECONDS)
    end_all(descendants, 0)
    pipes: tuple[IO[bytes] | None, ...] = (process.stdin, process.stdout)
    for pipe in pipes:
        if pipe is not None:
            pipe.close()


class _Exchange:
    """Requests over one connection, each answer held against ONNX Runtime on the same rows."""

    def __init__(self, url: str, onnx_model: OnnxModel, inputs: "Inputs") -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._session = open_session(onnx_model.path)
        self._names = [output.name for output in self._session.get_outputs()]
        self._sha256 = onnx_model.sha256
        self._inputs = inputs
        self._milliseconds: list[float] = []
        self._rows = 0
        self._max_abs = 0.0
        self._problems: list[str] = []

    def close(self) -> None:
        self._connection.close()

    def compare(self, start: int, end: int) -> None:
        import numpy as np

        feed = {name: np.ascontiguousarray(array[start:end]) for name, array in self._inputs.items()}
        answer = self._ask({"inputs": {name: array.tolist() for name, array in feed.items()}})
        for name, expected in zip(self._names, self._session.run(None, feed), strict=True):
            got = np.asarray(answer[name] if isinstance(answer, dict) else answer, expected.dtype)
            if got.shape != expected.shape:
                raise ServingError(
                    f"output {name} came as {list(got.shape)} and not as {list(expected.shape)}"
                )
            far = float(
                np.abs(np.nan_to_num(got.astype("float64")) - np.nan_to_num(expected.astype("float64"))).max(
                    initial=0
                )
            )
            self._max_abs = max(self._max_abs, far)
            if far > TOLERANCE * max(1.0, float(np.abs(np.nan_to_num(expected)).max(initial=0))):
                self._problems.append(
                    f"sea trial: rows {start}–{end - 1} differ from ONNX Runtime by {far:.2g} in {name}"
                )
        self._rows += end - start

    def _ask(self, body: dict[str, Any]) -> Any:
        content = json.dumps(body).encode()
        started = time.perf_counter()
        self._connection.request("POST", "/invocations", content, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        self._milliseconds.append((time.perf_counter() - started) * 1e3)
        if response.status != 200:
            raise ServingError(
                f"the server answered {response.status}: {answer[:200].decode(errors='replace')}"
            )
        if (digest := response.headers.get("X-Model-Digest")) != self._sha256:
            raise ServingError(f"the server says it serves {digest} and not {self._sha256}")
        return json.loads(answer)["predictions"]

    def result(self, singles: int, memory: int, ready: float) -> ServingCheck:
        import numpy as np

        alone, together = self._milliseconds[:singles], self._milliseconds[singles:]
        return ServingCheck(
            requests=len(self._milliseconds),
            rows=self._rows,
            max_abs=self._max_abs,
            single_p50_ms=float(np.percentile(alone, 50)),
            single_p95_ms=float(np.percentile(alone, 95)),
            batch=_BATCH,
            batch_p50_ms=float(np.percentile(together, 50)),
            peak_bytes=memory,
            start_seconds=ready,
            problems=tuple(self._problems[:5]),
        )


def _resident_bytes(pid: int) -> int:
    """Of the server and its workers, now."""
    import psutil

    server = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (server, *server.children(recursive=True)))
