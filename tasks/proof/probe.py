"""A file in a fresh process, as a server meets it: does it load by path, what does it cost, what does odd input do to it?

`probe` asks; `python -m tasks.proof.probe` answers. A process of its own, because bytes that crash a runtime must not crash a run.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tasks.onnx.session import open_session
from tasks.records import Behaviour, Dataset
from tasks.system.frozen import Frozen
from tasks.system.memory import peak_bytes
from tasks.system.sentences import first_line

Feed = dict[str, np.ndarray[Any, Any]]

_SECONDS = 120

_NO_ROWS = "no rows"


class Probe(Frozen):
    """What the fresh process saw; `problem` says why it did not come to an end."""

    load_seconds: float | None = None
    peak_bytes: int | None = None
    behaviour: tuple[Behaviour, ...] = ()
    problem: str | None = None

    def also(self, behaviour: Behaviour) -> "Probe":
        return self.model_copy(update={"behaviour": (*self.behaviour, behaviour)})


def probe(path: Path, dataset: Dataset, split: str, rows: int) -> Probe:
    """Load `path` by itself and run the first `rows` rows of a split, then NaN, infinities and no rows at all.

    No rows end the process in ONNX Runtime's LSTM (1.31); the server takes no such request, so that is no problem.
    """
    inputs = {spec.name: str(dataset.folder / split / f"{spec.name}.npy") for spec in dataset.inputs}
    question = json.dumps({"path": str(path), "inputs": inputs, "rows": rows})
    command = [sys.executable, "-m", "tasks.proof.probe"]
    try:
        done = subprocess.run(
            command,
            input=question,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            cwd=Path(__file__).parent.parent.parent,
        )
    except subprocess.TimeoutExpired:
        return Probe(problem=f"a fresh process did not load and run it within {_SECONDS} s")
    answers = done.stdout.splitlines()
    if done.returncode == 0:
        return Probe.model_validate_json(answers[-1])
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
    ended = f"ends with code {done.returncode}: {reason}"
    if not answers:
        return Probe(problem=f"a fresh process that loads and runs it {ended}")
    answer = Probe.model_validate_json(answers[-1])
    return answer.also(Behaviour(given=_NO_ROWS, outcome=f"the process {ended}"))


def main() -> None:
    """Read the question from standard input, print the answer on standard output; again when no rows were survived."""
    question = json.load(sys.stdin)
    started = time.perf_counter()
    session = open_session(Path(question["path"]))
    seconds = time.perf_counter() - started
    feed = {
        name: np.load(path, mmap_mode="r")[: question["rows"]] for name, path in question["inputs"].items()
    }
    session.run(None, {name: np.ascontiguousarray(array) for name, array in feed.items()})
    peak = peak_bytes()
    odd = tuple(_behaviour(session, given, inputs) for given, inputs in _odd_inputs(feed))
    answer = Probe(load_seconds=seconds, peak_bytes=peak, behaviour=odd)
    print(answer.model_dump_json(), flush=True)
    empty = _behaviour(session, _NO_ROWS, {name: np.array(array[:0]) for name, array in feed.items()})
    print(answer.also(empty).model_dump_json())


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


def _behaviour(session: onnxruntime.InferenceSession, given: str, feed: Feed) -> Behaviour:
    try:
        output = session.run(None, feed)[0]
    except Exception as error:
        return Behaviour(given=given, outcome=f"error: {first_line(error, 120)}")
    if output.size == 0:
        return Behaviour(given=given, outcome=f"an empty answer of shape {list(output.shape)}")
    if np.isnan(output).any():
        return Behaviour(given=given, outcome="NaN")
    return Behaviour(given=given, outcome="finite numbers" if np.isfinite(output).all() else "infinities")


if __name__ == "__main__":
    main()
