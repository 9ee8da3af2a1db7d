"""`python traced_step.py STEP FOLDER`: run a step's function on the arguments in FOLDER, and note which functions run meanwhile.

FOLDER/STEP.pickle holds a list of keyword arguments, one for each call; FOLDER/STEP.results.pickle gets the results, and
the pipe FOLDER/STEP.pipe the functions, also those of the processes that the step starts.
"""

import os
import pickle
import sys
from pathlib import Path

import sitecustomize

from flows import steps


def main(step: str, folder: Path) -> None:
    bound = getattr(steps, step)
    function = getattr(bound, "task", bound).fn
    calls = pickle.loads((folder / f"{step}.pickle").read_bytes())
    os.environ["SLIPWAY_TRACE"] = str(folder / f"{step}.pipe")
    sitecustomize.start(os.environ["SLIPWAY_TRACE"])
    results = [function(**arguments) for arguments in calls]
    sys.settrace(None)
    (folder / f"{step}.results.pickle").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
