"""A file in a fresh process, as a server meets it: does it load by path, what does it cost, what does odd input do to it?

`probe` asks; `python -m tasks.proof.probe` answers. A process of its own, because bytes that crash a runtime must not crash a run.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple

import numpy as np

from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import LostError
from tasks.measured import Behaviour
from tasks.onnx.engines import open_in
from tasks.onnx.session import Session
from tasks.records import Dataset
from tasks.system.files import is_the_machines, short_of_memory
from tasks.system.frozen import Frozen
from tasks.system.memory import MEMORY, MEMORY_A_BYTE, bound_memory, peak_bytes
from tasks.system.processes import crashed, how_it_ended
from tasks.system.sentences import first_line

Feed = dict[str, np.ndarray[Any, Any]]

_MODULE, _WORDS = "tasks.proof.probe", ()

_SECONDS = 120.0

_NO_ROWS = "no rows"


class Probe(Frozen):
    """What the fresh process saw; `problem` says why it did not come to an end."""

    load_seconds: float | None = None
    peak_bytes: int | None = None
    behaviour: tuple[Behaviour, ...] = ()
    problem: str | None = None

    def also(self, behaviour: Behaviour) -> "Probe":
        return self.model_copy(update={"behaviour": (*self.behaviour, behaviour)})


class _Run(NamedTuple):
    """How a fresh process ended, what it had answered by then, and its last words."""

    code: int
    answer: Probe | None
    words: str


def probe(path: Path, dataset: Dataset, split: str, rows: int, engine: Engine = ONNX_RUNTIME) -> Probe:
    """Load `path` by itself in the engine and run the first `rows` rows of a split, then NaN, infinities and no rows at all.

    No rows end the process in ONNX Runtime's LSTM (1.31); the server takes no such request, so that is no problem. What the file
    does it does again: a process that was killed, or crashed for once, says nothing about it. Raises LostError for those.
    """
    inputs = {spec.name: str(dataset.folder / split / f"{spec.name}.npy") for spec in dataset.inputs}
    question = json.dumps(
        {"path": str(path), "inputs": inputs, "rows": rows, "engine": engine.model_dump(mode="json")}
    )
    run = _ask(question)
    if isinstance(run, Probe):
        return run
    if crashed(run.code):
        first, run = run, _ask(question)
        if isinstance(run, Probe):
            return run
        if (run.code, run.answer is None) == (first.code, first.answer is None) and not short_of_memory(
            run.words
        ):
            return _crash(run)
    if run.code != 0 or run.answer is None:
        raise LostError(
            f"The process that loads and runs {path.name} {how_it_ended(run.code)} ({run.words}): nothing is known of the file. "
            "See whether the machine has memory left, and run again."
        )
    return run.answer


def _ask(question: str) -> _Run | Probe:
    """One process asked. One that takes too long, working all the while, is an answer by itself."""
    import psutil

    command = [sys.executable, "-m", _MODULE, *_WORDS]
    folder = Path(__file__).parent.parent.parent
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd=folder) as process:
        try:
            answers, said = process.communicate(question, _SECONDS)
        except subprocess.TimeoutExpired:
            worked = sum(psutil.Process(process.pid).cpu_times()[:2])
            if worked < _SECONDS / 2:
                raise LostError(
                    f"The process that loads and runs a file stood still: {worked:.0f} s of work in {_SECONDS:.0f} s. Run again when the machine has time."
                ) from None
            return Probe(problem=f"a fresh process did not load and run it within {_SECONDS:.0f} s")
        finally:
            process.kill()
    whole = [line for line in answers.splitlines(keepends=True) if line.endswith("\n")]
    answer = Probe.model_validate_json(whole[-1]) if whole else None
    return _Run(process.returncode, answer, (said.strip().splitlines() or ["no message"])[-1][:200])


def _crash(run: _Run) -> Probe:
    ended = f"{how_it_ended(run.code)}, twice: {run.words}"
    if run.answer is None:
        return Probe(problem=f"a fresh process that loads and runs it {ended}")
    return run.answer.also(Behaviour(given=_NO_ROWS, outcome=f"the process {ended}"))


def main() -> None:
    """Read the question from standard input, print the answer on standard output; again when no rows were survived.

    What the runtime says of the file is an answer too; whatever else ends this process is not, nor is memory that it does not get.
    """
    question = json.load(sys.stdin)
    most = _bound(Path(question["path"]))
    feed = {
        name: np.load(path, mmap_mode="r")[: question["rows"]] for name, path in question["inputs"].items()
    }
    try:
        started = time.perf_counter()
        session = open_in(Engine.model_validate(question["engine"]), Path(question["path"]))
        seconds = time.perf_counter() - started
        session.run(None, {name: np.ascontiguousarray(array) for name, array in feed.items()})
    except Exception as error:
        if is_the_machines(error):
            sys.exit(
                f"it found no more memory in the {most / 1e9:.1f} GB that it may take: {first_line(error, 120)}"
            )
        print(
            Probe(
                problem=f"a fresh process does not load and run it: {first_line(error, 200)}"
            ).model_dump_json()
        )
        return
    peak = peak_bytes()
    odd = tuple(_behaviour(session, given, inputs) for given, inputs in _odd_inputs(feed))
    answer = Probe(load_seconds=seconds, peak_bytes=peak, behaviour=odd)
    print(answer.model_dump_json(), flush=True)
    empty = _behaviour(session, _NO_ROWS, {name: np.array(array[:0]) for name, array in feed.items()})
    print(answer.also(empty).model_dump_json())


def _bound(path: Path) -> int:
    """As a server that inspects it has; half of what the machine has to give, where that is more: so many rows at once may need it."""
    import psutil

    usual = MEMORY + MEMORY_A_BYTE * path.stat().st_size
    return bound_memory(max(usual, psutil.virtual_memory().available // 2))


def _odd_inputs(feed: Feed) -> Iterator[tuple[str, Feed]]:
    """Two rows with an odd value in every number of a kind, for each kind that the inputs have."""
    few = {name: np.array(array[:2]) for name, array in feed.items()}
    for given, kinds, value in (
        ("zeros in every number", "fiu", lambda dtype: 0),
        ("NaN in every number", "f", lambda dtype: np.nan),
        ("+inf in every number", "f", lambda dtype: np.inf),
        ("-inf in every number", "f", lambda dtype: -np.inf),
        ("the largest integers", "iu", lambda dtype: np.iinfo(dtype).max),
        ("the smallest integers", "iu", lambda dtype: np.iinfo(dtype).min),
    ):
        odd = {n: np.full_like(a, value(a.dtype)) for n, a in few.items() if a.dtype.kind in kinds}
        if odd:
            yield given, {**few, **odd}


def _behaviour(session: Session, given: str, feed: Feed) -> Behaviour:
    try:
        outputs = session.run(None, feed)
        output = next((array for array in outputs if array.dtype.kind == "f"), outputs[0])
    except Exception as error:
        return Behaviour(given=given, outcome=f"error: {first_line(error, 120)}")
    if output.size == 0:
        return Behaviour(given=given, outcome=f"an empty answer of shape {list(output.shape)}")
    if np.isnan(output).any():
        return Behaviour(given=given, outcome="NaN")
    return Behaviour(given=given, outcome="finite numbers" if np.isfinite(output).all() else "infinities")


if __name__ == "__main__":
    main()
