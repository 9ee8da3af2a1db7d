"""A file's first run, in this process: what it costs, and what it makes of odd input. Imports little: each file begins with that.

`python -m tasks.proof.first_run` answers what tasks.proof.probe asks.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.onnx.session import Session, open_session
from tasks.system.files import is_the_machines
from tasks.system.memory import MEMORY, MEMORY_A_BYTE, bound_memory, peak_bytes
from tasks.system.sentences import first_line

Feed = dict[str, np.ndarray[Any, Any]]

NO_ROWS = "no rows"


def main() -> None:
    """Read the question from standard input, print the answer on standard output; again when no rows were survived.

    What the runtime says of the file is an answer too; whatever else ends this process is not, nor is memory that it does not get.
    """
    question = json.load(sys.stdin)
    most = _bound(Path(question["path"]))
    feed = {
        name: np.load(path, mmap_mode="r")[: question["rows"]] for name, path in question["inputs"].items()
    }
    opened = _opener(question["engine"])
    try:
        started = time.perf_counter()
        session = opened(Path(question["path"]))
        seconds = time.perf_counter() - started
        session.run(None, {name: np.ascontiguousarray(array) for name, array in feed.items()})
    except Exception as error:
        if is_the_machines(error):
            sys.exit(
                f"it found no more memory in the {most / 1e9:.1f} GB that it may take: {first_line(error, 120)}"
            )
        print(json.dumps({"problem": f"a fresh process does not load and run it: {first_line(error, 200)}"}))
        return
    peak = peak_bytes()
    odd = [_behaviour(session, given, inputs) for given, inputs in _odd_inputs(feed)]
    answer = {"load_seconds": seconds, "peak_bytes": peak, "behaviour": odd}
    print(json.dumps(answer), flush=True)
    odd.append(_behaviour(session, NO_ROWS, {name: np.array(array[:0]) for name, array in feed.items()}))
    print(json.dumps(answer))


def _opener(engine: dict[str, Any]) -> Callable[[Path], Session]:
    """Records of engines take half as long again to import, and ONNX Runtime needs none."""
    if engine["name"] == "onnxruntime":
        return open_session
    from tasks.engines import Engine
    from tasks.onnx.engines import open_in

    return partial(open_in, Engine.model_validate(engine))


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


def _behaviour(session: Session, given: str, feed: Feed) -> dict[str, str]:
    return {"given": given, "outcome": _outcome(session, feed)}


def _outcome(session: Session, feed: Feed) -> str:
    try:
        outputs = session.run(None, feed)
        output = next((array for array in outputs if array.dtype.kind == "f"), outputs[0])
    except Exception as error:
        return f"error: {first_line(error, 120)}"
    if output.size == 0:
        return f"an empty answer of shape {list(output.shape)}"
    if np.isnan(output).any():
        return "NaN"
    return "finite numbers" if np.isfinite(output).all() else "infinities"


if __name__ == "__main__":
    main()
