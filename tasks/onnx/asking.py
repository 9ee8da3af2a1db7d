"""A model's folder asked by MLflow's python_function, as somebody without Slipway would: in a process of its own.

`ask` asks; `python -m tasks.onnx.asking` answers. The folder brings code, which has no business in a run's own process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import LostError
from tasks.records import TensorSpec
from tasks.system.files import short_of_memory
from tasks.system.processes import how_it_ended
from tasks.system.sentences import typed_line

_SECONDS = 180.0


class Unanswered(Exception):
    """MLflow did not answer, and said why."""


def ask(folder: Path, request: Mapping[str, Any], inputs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    """The outputs by name, as lists. Raises Unanswered for a model that fails, LostError for a process that was ended."""
    question = json.dumps(
        {"folder": str(folder), "request": request, "types": {s.name: s.dtype for s in inputs}}
    )
    try:
        process = subprocess.run(
            [sys.executable, "-m", "tasks.onnx.asking"],
            input=question,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # the folder stays as it was made
        )
    except subprocess.TimeoutExpired:
        raise LostError(
            f"MLflow's python_function did not answer within {_SECONDS:.0f} s: run again when the machine has time."
        ) from None
    lines = process.stdout.strip().splitlines()
    said = (process.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
    if process.returncode < 0 or (process.returncode and short_of_memory(said)):
        raise LostError(
            f"The process that asks MLflow's python_function {how_it_ended(process.returncode)} ({said}): nothing is known of the model. "
            "See whether the machine has memory left, and run again."
        )
    if process.returncode or not lines:
        raise Unanswered(said)
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def main() -> None:
    """Read the question from standard input, print the answer on standard output."""
    import mlflow.pyfunc
    import numpy as np

    question = json.load(sys.stdin)
    types = question["types"]
    try:
        model = mlflow.pyfunc.load_model(question["folder"])
        given = {name: np.array(values, types[name]) for name, values in question["request"].items()}
        answer = model.predict(given)
    except Exception as error:
        sys.exit(typed_line(error))
    print(json.dumps({name: np.asarray(values).tolist() for name, values in answer.items()}))


if __name__ == "__main__":
    main()
