"""The sea trial: the real server on these very bytes, asked over HTTP as it will be asked, and always stopped."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from tasks.data.arrays import Array
from tasks.data.asked import AskedRows
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import LostError
from tasks.measured import ServingCheck
from tasks.onnx.asking import Unanswered, ask
from tasks.onnx.engines import open_in, plain_of, ran_in, title
from tasks.onnx.session import Session
from tasks.proof.evidence import MODEL
from tasks.system.files import short_of_memory
from tasks.system.processes import end_all, family, how_it_ended, start_tied
from tasks.system.scratch import scratch
from tasks.system.sentences import typed_line

TOLERANCE = 1e-4
"""Largest difference from the same file in process, as a share of the largest output: JSON keeps float32 exactly."""

_START_SECONDS = 90

_STOP_SECONDS = 15

_REFUSES, _DIED = " cannot be served: ", "the process that inspected it died"
"""What infra/serving says of a folder that it will not serve, and of a helper of its own that ended."""

_SINGLES, _BATCHES, _BATCH = 60, 5, 64

MOST_ASKED = _BATCHES * _BATCH
"""Rows that a trial looks at."""


_NOT_NOW = {429, 503, 504}
"""What a server says that has no time or no room."""


class ServingError(Exception):
    """The server refused the files, or answered something else: said in the trial's problems, not raised to users."""


class _Exchange(NamedTuple):
    """One request: how long it took, and how far its answer lies from ONNX Runtime's on the same rows."""

    milliseconds: float
    max_abs: float
    problems: list[str]


def try_on_server(
    package: Path,
    name: str,
    sha256: str,
    asked: AskedRows,
    moves: float = 0.0,
    engine: Engine = ONNX_RUNTIME,
) -> ServingCheck:
    """Serve the MLflow folder `package`, whose model is `sha256`, as `name` in `engine`, send it rows singly and in batches, compare every answer.

    `moves`: how far a row's numbers go by the rows beside it, which a server puts together otherwise than they are asked. What the
    server says is evidence; a server that ended, or said nothing, is not: raises LostError. It is gone when this returns
    or raises.
    """
    started = time.perf_counter()
    rows = len(asked)
    singles = [slice(start, start + 1) for start in range(min(_SINGLES, rows))]
    together = min(_BATCHES * _BATCH, rows)
    batches = [slice(start, min(start + _BATCH, rows)) for start in range(0, together, _BATCH)]
    try:
        with serve(package, name, engine) as (url, pid), _lost_with_its_processes():
            ready = time.perf_counter() - started
            with closing(HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
                _rows_in(connection, name, engine)
                session = open_in(engine, package / MODEL)
                exchanges = [
                    _exchange(connection, session, sha256, asked, part, 2 * moves)
                    for part in (*singles, *batches)
                ]
                _check_engine(_rows_in(connection, name, engine), session, engine)
            memory = sum(process.memory_info().rss for process in family(pid))
    except ServingError as error:
        return ServingCheck(requests=0, rows=0, max_abs=0, single_p50_ms=0, single_p95_ms=0, batch=_BATCH, batch_p50_ms=0,
                     peak_bytes=0, start_seconds=0, problems=(f"sea trial: {error}",))  # fmt: skip
    problems = [problem for exchange in exchanges for problem in exchange.problems]
    problems += _of_python_function(package, plain_of(session), asked)
    milliseconds = [exchange.milliseconds for exchange in exchanges]
    single_p50, single_p95 = np.percentile(milliseconds[: len(singles)], [50, 95])
    return ServingCheck(
        requests=len(exchanges),
        rows=len(singles) + together,
        max_abs=max(exchange.max_abs for exchange in exchanges),
        single_p50_ms=float(single_p50),
        single_p95_ms=float(single_p95),
        batch=_BATCH,
        batch_p50_ms=float(np.median(milliseconds[len(singles) :])),
        peak_bytes=memory,
        start_seconds=ready,
        problems=tuple(problems[:5]),
    )


@contextmanager
def serve(package: Path, name: str, engine: Engine = ONNX_RUNTIME) -> Iterator[tuple[str, int]]:
    """The server's address and process id, once it is ready. It serves from local bytes and needs no registry."""
    with scratch("trial") as home:
        log = home / "log"
        with log.open("wb") as errors:
            process = start_tied(  # it ends with us, also when we are killed
                (
                    "infra.serving",
                    f"{name}={package}",
                    "--port",
                    "0",
                    "--home",
                    str(home),
                    *_asked_for(engine),
                ),
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).parent.parent.parent,
            )
        try:
            yield _address(process, log), process.pid
        finally:  # it ends its own processes in order; whatever is left of them goes too
            descendants = family(process.pid)[1:]
            with process:
                end_all([process], _STOP_SECONDS)
            end_all(descendants, 0)


def _asked_for(engine: Engine) -> tuple[str, ...]:
    return () if engine.is_always_there else ("--engine", engine.choice)


def _rows_in(connection: HTTPConnection, name: str, engine: Engine) -> int:
    """How many rows the server's engine has run, of a version with two. Raises ServingError where it took ONNX Runtime instead."""
    connection.request("GET", "/ready")
    engines = json.loads(connection.getresponse().read())["engines"][name]
    if (why := engines["instead"]) is not None:
        raise ServingError(f"the server runs it in ONNX Runtime: {why}")
    return int(engines["rows"].get(engine.name, 0))


def _check_engine(rows: int, session: Session, engine: Engine) -> None:
    """Raises ServingError for most in ONNX Runtime of what the engine runs in process; of a long request the last piece may be."""
    if 2 * rows < (asked := ran_in(session)[engine.name]):
        raise ServingError(
            f"the server ran {rows} rows in {title(engine)}, and in process {asked} of the same are"
        )


@contextmanager
def _lost_with_its_processes() -> Iterator[None]:
    """A connection that breaks off, or a process that is gone: ours, whatever it was that ended it."""
    import psutil

    try:
        yield
    except (OSError, HTTPException, psutil.Error) as error:
        raise LostError(
            f"The sea trial's server broke off ({typed_line(error)}): nothing is known of the file. "
            "See whether the machine has memory left, and run again."
        ) from error


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
        code = process.wait()
        reason = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1][:300]
        if _REFUSES in reason and _DIED not in reason and not short_of_memory(reason):
            raise ServingError(f"the server did not start: {reason}")
        raise LostError(
            f"The sea trial's server {how_it_ended(code)} before it was ready ({reason}): nothing is known of the file. "
            "See whether the machine has memory left, and run again."
        )
    url: str = json.loads(line)["url"]
    return url


def _exchange(
    connection: HTTPConnection,
    session: Session,
    sha256: str,
    asked: AskedRows,
    rows: slice,
    moves: float = 0.0,
) -> _Exchange:
    feed, content = asked.feed(rows), json.dumps({"inputs": asked.request(rows)}).encode()
    started = time.perf_counter()
    connection.request("POST", "/invocations", content, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    milliseconds = (time.perf_counter() - started) * 1e3
    if response.status in _NOT_NOW:
        raise LostError(
            f"The sea trial's server had no time for a request ({response.status}): run again when the machine has."
        )
    if response.status != 200:
        raise ServingError(f"the server answered {response.status}: {answer[:200].decode(errors='replace')}")
    if (digest := response.headers.get("X-Model-Digest")) != sha256:
        raise ServingError(f"the server says it serves {digest} and not {sha256}")
    try:
        predictions = json.loads(answer)["predictions"]
    except (ValueError, KeyError, TypeError) as error:
        raise ServingError(f"the server's answer cannot be read: {typed_line(error)}") from error
    distances, problems = [0.0], []
    for output, expected in zip(session.get_outputs(), session.run(None, feed), strict=True):
        named = predictions[output.name] if isinstance(predictions, dict) else predictions
        far, differs = _far(output.name, named, expected, moves)
        if differs:
            span = f"rows {rows.start}–{rows.stop - 1}"
            problems.append(
                f"sea trial: {span} differ from the same file in process by {far:.2g} in {output.name}"
            )
        distances.append(far)
    return _Exchange(milliseconds, max(distances), problems)


def _far(name: str, answer: Any, expected: Array, moves: float = 0.0) -> tuple[float, bool]:
    """The largest difference of an output from what it should be, and whether that is too much. Raises ServingError for another shape."""
    got = np.asarray(answer, expected.dtype)
    if got.shape != expected.shape:
        raise ServingError(f"output {name} came as {list(got.shape)} and not as {list(expected.shape)}")
    if expected.dtype.kind == "O":
        return float((got != expected).any()), bool((got != expected).any())
    far = _largest(np.nan_to_num(got.astype("float64")) - np.nan_to_num(expected.astype("float64")))
    return far, far > moves + TOLERANCE * max(1.0, _largest(np.nan_to_num(expected)))


def _of_python_function(package: Path, session: Session, asked: AskedRows) -> Iterator[str]:
    """Where MLflow's python_function, which is in ONNX Runtime, answers otherwise, for a model that brings it code of its own."""
    if asked.decoder is None:
        return
    rows = slice(0, min(_BATCH, len(asked)))
    expected = session.run(None, asked.feed(rows))
    who = "sea trial: MLflow's python_function"
    try:
        answers = ask(package, asked.request(rows), asked.specs)
        for output, wanted in zip(session.get_outputs(), expected, strict=True):
            far, differs = _far(output.name, answers[output.name], wanted)
            if differs:
                yield f"{who} differs from ONNX Runtime by {far:.2g} in {output.name}"
    except (Unanswered, ServingError, KeyError) as error:
        yield f"{who} does not answer: {typed_line(error)}"


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0))
