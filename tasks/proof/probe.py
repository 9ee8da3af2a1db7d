"""A file in a fresh process, as a server meets it: does it load by path, what does it cost, what does odd input do to it?

`probe` asks; `python -m tasks.proof.first_run` answers. A process of its own, because bytes that crash a runtime must not crash a run.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import LostError
from tasks.measured import Behaviour
from tasks.proof.first_run import NO_ROWS
from tasks.records import Dataset
from tasks.system.files import short_of_memory
from tasks.system.frozen import Frozen
from tasks.system.processes import crashed, how_it_ended

_MODULE, _WORDS = "tasks.proof.first_run", ()

_SECONDS = 120.0


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
    lean = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # of numpy's own, which multiply nothing there
    with subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd=folder, env=lean
    ) as process:
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
    return run.answer.also(Behaviour(given=NO_ROWS, outcome=f"the process {ended}"))
