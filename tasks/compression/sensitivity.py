"""Accuracy control: when 8 bits cost too much score, find the nodes that cost most and keep those in float."""

import time
from pathlib import Path

import numpy as np

from tasks.compression.calibration import StaticQuantiser
from tasks.compression.graph import WEIGHTED
from tasks.compression.method import Context
from tasks.data.arrays import Samples
from tasks.data.dataset import read_split
from tasks.onnx.session import open_session, run_named, run_rows
from tasks.system.sentences import some
from tasks.workloads.scoring import score

_SCORED_ROWS = 2048

_SENSITIVITY_ROWS = 256


def keep_sensitive_in_float(quantiser: StaticQuantiser, target: Path, context: Context) -> tuple[str, ...]:
    """Rewrite `target` with as few further nodes in float as bring its score back within the gate; notes say which.

    Scores are on validation rows, against fp32's. When nothing within the knob's `repair_seconds` does, `target` stays as it was.
    """
    if quantiser.knobs.repair_seconds == 0:
        return ()
    allowed = context.gates.max_score_drop
    samples = read_split(context.dataset, "validation")[:_SCORED_ROWS]
    fp32 = _score(context, context.baseline.path, samples)
    drop = fp32 - _score(context, target, samples)
    if drop <= allowed or fp32 - _score(context, quantiser.prepared, samples) > allowed:
        return ()
    ends = time.monotonic() + quantiser.knobs.repair_seconds
    costs = sensitivity(quantiser, samples, target.parent, ends)
    ranked = sorted(costs, key=lambda name: costs[name], reverse=True)
    attempt, count = target.parent / "attempt.onnx", 1
    while count < len(ranked) and time.monotonic() < ends:
        quantiser.write(attempt, ranked[:count])
        repaired = fp32 - _score(context, attempt, samples)
        if repaired <= allowed:
            attempt.replace(target)
            return (_describe(ranked[:count], costs, quantiser, drop, repaired),)
        count = count + 1 if count < 4 else count * 2
    return (
        f"8 bits cost {drop:.4g} of the score, and no choice of nodes in float brought that within {allowed:.4g}",
    )


def sensitivity(quantiser: StaticQuantiser, samples: Samples, folder: Path, ends: float) -> dict[str, float]:
    """How far the outputs move, relative to their size, when each node alone works in 8 bits.

    Nodes without weights first: to keep them in float costs no size. Stops at `ends` (monotonic clock).
    """
    few = samples[:_SENSITIVITY_ROWS].inputs
    expected = run_rows(open_session(quantiser.prepared), few)
    scale = float(np.abs(expected).mean()) or 1.0
    attempt, costs = folder / "alone.onnx", {}
    nodes = [name for name in quantiser.nodes if name not in quantiser.knobs.keep_float]
    for name in sorted(nodes, key=lambda node: quantiser.nodes[node] in WEIGHTED):
        if time.monotonic() > ends:
            break
        quantiser.write(attempt, only=name)
        error = float(np.abs(run_rows(open_session(attempt), few) - expected).mean()) / scale
        costs[name] = error if np.isfinite(error) else float("inf")
    return costs


def _score(context: Context, path: Path, samples: Samples) -> float:
    outputs = run_named(open_session(path), samples.inputs, context.workload.outputs)
    value = score(context.workload, samples.truth, outputs, context.dataset.fitted)
    return value if np.isfinite(value) else -float("inf")


def _describe(
    nodes: list[str], costs: dict[str, float], quantiser: StaticQuantiser, drop: float, repaired: float
) -> str:
    named = some([f"{name} ({quantiser.nodes[name]}, moves outputs {costs[name]:.0%})" for name in nodes])
    return (
        f"kept in float: {named}; with them in 8 bits the score dropped by {drop:.4g}, "
        f"without them by {repaired:.4g}"
    )
