"""Whether a row's answer hangs on the rows that come with it: a server puts those of many clients in one batch."""

import numpy as np
import onnxruntime

from tasks.data.arrays import Array, Arrays
from tasks.onnx.session import run_rows
from tasks.proof.parity import distances
from tasks.records import Company
from tasks.workloads.scoring import predictions
from tasks.workloads.workload import Workload

_ROWS = 200

_BATCHES = (7, 64, _ROWS)

_MOVED = 0.01
"""The share of the answers' own spread by which a value may move and still count as the same answer."""


def measure_company(session: onnxruntime.InferenceSession, inputs: Arrays, workload: Workload) -> Company:
    """The same rows alone, in batches of several sizes, in the other order and in another: each answer against its own alone.

    8-bit arithmetic that takes its scale from a whole batch fails here (2.5% of answers of a text classifier), and so does
    a model that normalises over the batch.
    """
    few = {name: array[:_ROWS] for name, array in inputs.items()}
    alone = run_rows(session, few, 1)
    rows = len(alone)
    changed, farthest = np.zeros(rows, dtype=bool), 0.0
    for order in (np.arange(rows), np.arange(rows)[::-1], np.random.default_rng(0).permutation(rows)):
        for batch in _BATCHES:
            beside = np.empty_like(alone)
            beside[order] = run_rows(session, {name: array[order] for name, array in few.items()}, batch)
            farthest = max(farthest, float(distances(alone, beside).max(initial=0.0)))
            changed |= _differ(workload, alone, beside)
    return Company(rows=rows, max_abs=farthest, changed=float(changed.mean()))


def _differ(workload: Workload, alone: Array, beside: Array) -> Array:
    """Rows whose class is another; of a regression, whose value has moved by a share of the values' spread."""
    ours, theirs = predictions(workload, alone), predictions(workload, beside)
    if workload.kind == "classification":
        return np.asarray(ours != theirs)
    spread = float(np.nanstd(ours)) or float(np.abs(ours).max(initial=0.0)) or 1.0
    return np.asarray(distances(ours, theirs) > _MOVED * spread)
