"""How far an ONNX file is from the torch model it came from, on real rows, at sizes that were never traced."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from tasks.data.arrays import Array, Arrays, load_arrays
from tasks.goals.answer import distances
from tasks.measured import Parity
from tasks.onnx.session import Session, run_named
from tasks.onnx.sizes import reference_lengths
from tasks.records import Fitted, OnnxModel
from tasks.workloads.scoring import decisions
from tasks.workloads.workload import Workload

FLOAT_TOLERANCE = 1e-3
"""Largest difference of a float32 file's outputs, absolute or relative: rounding stays below, a wrong graph does not."""

HALF_TOLERANCE = 5e-2
"""The same of a float16 file, which keeps three digits."""

CHANGED_LIMIT = 0.1
"""Largest share of predictions a quantised file may change; how much score that may cost is the gate's to say."""

Numbers = Literal["float", "half", "quantised"]

PRECISIONS: dict[Numbers, str] = {"float": "fp32", "half": "fp16", "quantised": "int8"}

_INTEGER_OPS = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")


def numbers_in(onnx_model: OnnxModel) -> Numbers:
    """Which numbers a file computes in, by its graph: that decides how its outputs are held to torch's."""
    graph = onnx.load(onnx_model.path, load_external_data=False).graph
    if any(node.op_type in _INTEGER_OPS for node in graph.node):
        return "quantised"
    half = onnx.TensorProto.FLOAT16
    return "half" if any(tensor.data_type == half for tensor in graph.initializer) else "float"


def measure_parity(
    session: Session,
    inputs: Arrays,
    reference: Arrays,
    workload: Workload,
    fitted: Sequence[Fitted] = (),
    targets: Sequence[Array] = (),
) -> tuple[Parity, ...]:
    """What is served against what is decided of torch's outputs `reference`: row by row, by sevens, and all at once."""
    largest = len(reference[workload.outputs[0]])
    sizes = ((1, min(32, largest)), (7, min(70, largest)), (largest, largest))
    return tuple(
        _parity(
            workload,
            batch,
            {name: reference[name][:rows] for name in workload.outputs},
            run_named(session, inputs, workload.served, batch, rows),
            fitted,
            targets,
        )
        for batch, rows in sizes
    )


def measure_lengths(
    session: Session,
    inputs: Arrays,
    lengths: Path,
    workload: Workload,
    fitted: Sequence[Fitted] = (),
    targets: Sequence[Array] = (),
) -> tuple[Parity, ...]:
    """Against torch's outputs in `lengths`, with every further dynamic axis cut to other lengths."""
    kept, measured = load_arrays(lengths), []
    for sizes, cut in reference_lengths(inputs, workload):
        expected = {name: kept[f"{sizes} {name}"] for name in workload.outputs}
        got = run_named(session, cut, workload.served)
        parity = _parity(workload, len(next(iter(got.values()))), expected, got, fitted, targets)
        measured.append(parity.model_copy(update={"sizes": sizes}))
    return tuple(measured)


def problems_of(parity: tuple[Parity, ...], numbers: Numbers, reference: Sequence[Array]) -> Iterator[str]:
    """What a gate must refuse: a float file that computes something else, a quantised one that answers otherwise."""
    largest = [float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in reference]
    scale = max(1.0, *largest)
    tolerance = (HALF_TOLERANCE if numbers == "half" else FLOAT_TOLERANCE) * scale
    for measured in parity:
        where = f"at batch {measured.batch}" + (f", {measured.sizes}," if measured.sizes else "")
        if numbers == "quantised" and measured.changed > CHANGED_LIMIT:
            yield f"{where} it changes {measured.changed:.1%} of the predictions, more than {CHANGED_LIMIT:.0%}"
        elif numbers != "quantised" and measured.max_abs > tolerance:
            yield f"{where} its outputs differ from the model's by {measured.max_abs:.2g}, more than {tolerance:.2g}"


def _parity(
    workload: Workload,
    batch: int,
    expected: Arrays,
    got: Arrays,
    fitted: Sequence[Fitted],
    targets: Sequence[Array],
) -> Parity:
    parts, changed = [], np.zeros(len(got[workload.served[0]]), dtype=bool)
    said = (decisions(workload, outputs, fitted, targets) for outputs in (expected, got))
    for goal, theirs, ours in zip(workload.goals, *said, strict=True):
        parts.append(distances(theirs["numbers"], ours["numbers"]).ravel())
        changed |= goal.answer.changed(ours, theirs)
    distance = np.concatenate(parts)
    return Parity(
        batch=batch,
        max_abs=float(distance.max(initial=0.0)),
        mean_abs=float(distance.mean()) if distance.max(initial=0.0) < 1e300 else float(distance.max()),
        changed=float(changed.mean()),
    )
