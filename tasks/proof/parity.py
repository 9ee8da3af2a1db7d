"""How far an ONNX file is from the torch model it came from, on real rows, at sizes that were never traced."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime

from tasks.data.arrays import Array, Arrays
from tasks.onnx.session import run_rows
from tasks.onnx.sizes import reference_lengths
from tasks.records import OnnxModel, Parity
from tasks.workloads.scoring import predictions
from tasks.workloads.workload import Workload

FLOAT_TOLERANCE = 1e-3
"""Largest difference of a float32 file's outputs, absolute or relative: rounding stays below, a wrong graph does not."""

HALF_TOLERANCE = 5e-2
"""The same of a float16 file, which keeps three digits."""

CHANGED_LIMIT = 0.1
"""Largest share of predictions a quantised file may change; how much score that may cost is the gate's to say."""

Numbers = Literal["float", "half", "quantised"]

_INTEGER_OPS = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")


def numbers_in(onnx_model: OnnxModel) -> Numbers:
    """Which numbers a file computes in, by its graph: that decides how its outputs are held to torch's."""
    graph = onnx.load(onnx_model.path, load_external_data=False).graph
    if any(node.op_type in _INTEGER_OPS for node in graph.node):
        return "quantised"
    half = onnx.TensorProto.FLOAT16
    return "half" if any(tensor.data_type == half for tensor in graph.initializer) else "float"


def measure_parity(
    session: onnxruntime.InferenceSession, inputs: Arrays, reference: Array, workload: Workload
) -> tuple[Parity, ...]:
    """Against torch's outputs `reference` on the first rows: row by row, by sevens, and all at once."""
    largest = len(reference)
    sizes = ((1, min(32, largest)), (7, min(70, largest)), (largest, largest))
    return tuple(
        _parity(workload, batch, reference[:rows], run_rows(session, inputs, batch, rows))
        for batch, rows in sizes
    )


def measure_lengths(
    session: onnxruntime.InferenceSession, inputs: Arrays, lengths: Path, workload: Workload
) -> tuple[Parity, ...]:
    """Against torch's outputs in `lengths`, with every further dynamic axis cut to other lengths."""
    with np.load(lengths, allow_pickle=False) as expected:
        return tuple(
            _parity(workload, len(expected[sizes]), expected[sizes], run_rows(session, cut)).model_copy(
                update={"sizes": sizes}
            )
            for sizes, cut in reference_lengths(inputs, workload)
        )


def problems_of(parity: tuple[Parity, ...], numbers: Numbers, reference: Array) -> Iterator[str]:
    """What a gate must refuse: a float file that computes something else, a quantised one that answers otherwise."""
    scale = max(1.0, float(np.abs(reference[np.isfinite(reference)]).max(initial=0.0)))
    tolerance = (HALF_TOLERANCE if numbers == "half" else FLOAT_TOLERANCE) * scale
    for measured in parity:
        where = f"at batch {measured.batch}" + (f", {measured.sizes}," if measured.sizes else "")
        if numbers == "quantised" and measured.changed > CHANGED_LIMIT:
            yield f"{where} it changes {measured.changed:.1%} of the predictions, more than {CHANGED_LIMIT:.0%}"
        elif numbers != "quantised" and measured.max_abs > tolerance:
            yield f"{where} its outputs differ from the model's by {measured.max_abs:.2g}, more than {tolerance:.2g}"


def distances(expected: Array, got: Array) -> Array:
    """Absolute differences, float64; 0 where both are no number, and the largest there is where only one is."""
    with np.errstate(invalid="ignore"):
        distance = np.abs(got.astype("float64") - expected.astype("float64"))
    same = (np.isnan(got) & np.isnan(expected)) | (got == expected)
    return np.nan_to_num(np.where(same, 0.0, distance), nan=np.finfo("float64").max)


def _parity(workload: Workload, batch: int, expected: Array, got: Array) -> Parity:
    distance = distances(expected, got)
    same_class = predictions(workload, got) == predictions(workload, expected)
    return Parity(
        batch=batch,
        max_abs=float(distance.max(initial=0.0)),
        mean_abs=float(distance.mean()) if distance.max(initial=0.0) < 1e300 else float(distance.max()),
        changed=float(1 - same_class.mean()) if workload.kind == "classification" else 0.0,
    )
