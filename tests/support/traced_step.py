"""`python traced_step.py FOLDER`: for each STEP on stdin, run its function on the arguments in FOLDER, and note which functions run meanwhile.

FOLDER/STEP.pickle holds a list of keyword arguments, one for each call; FOLDER/STEP.results.pickle gets the results, and
the pipe FOLDER/STEP.pipe the functions, also those of the processes that the step starts. Each step has a process of its own,
forked from this one, which has imported what is not ours: under a trace that takes most of a minute. Its exit code is printed.
"""

import os
import pickle
import sys
import traceback
from importlib import import_module
from pathlib import Path

import sitecustomize

from flows import steps

OTHERS = (
    "mlflow",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "pandera.pandas",
    "sklearn.metrics",
    "torch.onnx",
    "torch_pruning",
)


def main(folder: Path) -> None:
    for name in (*OTHERS, "torch.export", "torch.onnx._internal.exporter._core", "torch.utils.data"):
        import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(run(line.strip(), folder))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(step: str, folder: Path) -> int:
    bound = getattr(steps, step)
    function = getattr(bound, "task", bound).fn
    calls = pickle.loads((folder / f"{step}.pickle").read_bytes())
    os.environ["SLIPWAY_TRACE"] = str(folder / f"{step}.pipe")
    os.dup2(2, 1)  # what a step prints is no exit code
    sitecustomize.start(os.environ["SLIPWAY_TRACE"])
    if step in ("validate", "prove"):
        import_module("tasks.proof.validation").MEASURE_SECONDS = 0.02
    try:
        results = [function(**arguments) for arguments in calls]
    except BaseException:
        traceback.print_exc()
        return 1
    sys.settrace(None)
    (folder / f"{step}.results.pickle").write_bytes(pickle.dumps(results))
    return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
