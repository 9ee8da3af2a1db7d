"""Checkpoint → OnnxModel: one file with named, truly dynamic axes, by whichever exporter is right for the model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype
from torch import nn

from tasks.data.arrays import Array, Samples
from tasks.data.dataset import read_split
from tasks.errors import StepError
from tasks.onnx.exporters import EXPORTERS, without_warnings
from tasks.onnx.session import open_session
from tasks.onnx.sizes import batch_of, odd_sizes
from tasks.records import Candidate, Checkpoint, Dataset, OnnxModel, TensorSpec
from tasks.system.files import is_the_machines, sha256_of, write_atomically
from tasks.system.sentences import typed_line
from tasks.training.module import answers, load_module, main_output
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

TOLERANCE = 1e-3
"""Largest difference from torch, absolute and relative, at which an exporter counts as right for a model."""

_REFERENCE_ROWS = 512


def export(
    reference: str,
    dataset: Dataset,
    checkpoint: Checkpoint,
    path: Path,
    *,
    metadata: Mapping[str, str],
    model: str | None = None,
) -> Candidate:
    """The trained model as it is, at `path`: the candidate fp32. Raises StepError when no exporter is right for it."""
    workload = load_workload(reference)
    module = load_module(workload, dataset, checkpoint, model=model)
    return Candidate(name="fp32", onnx=export_module(module, workload, dataset, path, metadata))


def export_module(
    module: nn.Module, workload: Workload, dataset: Dataset, path: Path, metadata: Mapping[str, str]
) -> OnnxModel:
    """Write `module` to `path` as ONNX and its outputs on the first validation rows beside it, as the reference.

    Each exporter is silently wrong for some models (dynamo fixes an LSTM's length, TorchScript a transformer's), so the
    file is kept only if its axes are dynamic and sizes that were never traced agree with torch. Raises StepError, with
    what each exporter said, when none does.
    """
    samples = read_split(dataset, "validation")
    module = module.cpu().eval()
    failures = []
    for name, export in EXPORTERS.items():
        try:
            with without_warnings():
                proto = export(module, workload, dataset, batch_of(samples, 3))
            problem = check_export(proto, module, workload, dataset, samples)
        except Exception as error:  # exporters raise whatever they meet
            if is_the_machines(error):
                raise
            problem = typed_line(error)
        if problem is None:
            return write_export(proto, name, module, dataset, samples, path, metadata)
        failures.append(f"{name}: {problem}")
    raise StepError(
        f"Workload {workload.name}: its model does not export to ONNX. {' | '.join(failures)}. Change the operation that is named, or its shapes."
    )


def check_export(
    proto: onnx.ModelProto, module: nn.Module, workload: Workload, dataset: Dataset, samples: Samples
) -> str | None:
    """What is wrong with an exported graph, in words, or None: names, dynamic axes, and odd sizes against torch."""
    return _input_problem(proto, dataset) or _answer_problem(proto, module, workload, samples)


def _input_problem(proto: onnx.ModelProto, dataset: Dataset) -> str | None:
    wanted = {spec.name: spec.shape for spec in dataset.inputs}
    shapes = {value.name: _dims(value) for value in proto.graph.input}
    if set(shapes) != set(wanted):
        return f"its inputs are named {sorted(shapes)} where the workload says {sorted(wanted)}"
    for name, shape in wanted.items():
        for axis, size in enumerate(shape):
            if isinstance(size, str) and isinstance(shapes[name][axis], int):
                return f"axis {axis} of {name} became fixed at {shapes[name][axis]}"
    return None


def _answer_problem(
    proto: onnx.ModelProto, module: nn.Module, workload: Workload, samples: Samples
) -> str | None:
    session = open_session(proto.SerializeToString())
    for arrays in odd_sizes(samples, workload):
        pairs = zip(answers(module, arrays).values(), session.run(None, arrays), strict=True)
        if not all(_agree(expected.numpy(), answer) for expected, answer in pairs):
            sizes = {name: array.shape for name, array in arrays.items()}
            return f"its answers for inputs of {sizes} differ from torch's"
    return None


def _agree(expected: Array, answer: Array) -> bool:
    same_shape = expected.shape == answer.shape
    return same_shape and np.allclose(expected, answer, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]


def write_export(
    proto: onnx.ModelProto,
    exporter: str,
    module: nn.Module,
    dataset: Dataset,
    samples: Samples,
    path: Path,
    metadata: Mapping[str, str],
) -> OnnxModel:
    """Put an exported graph at `path`, and the module's outputs on the first of these rows beside it."""
    onnx.helper.set_model_props(proto, dict(sorted(metadata.items())))
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString(deterministic=True))
    outputs = main_output(answers(module, samples[:_REFERENCE_ROWS].inputs)).numpy()
    reference = path.with_suffix(".reference.npy")
    write_atomically(reference, lambda file: np.save(file, outputs, allow_pickle=False))
    return describe(path, exporter, dataset.inputs, reference)


def describe(path: Path, exporter: str, inputs: tuple[TensorSpec, ...], reference: Path | None) -> OnnxModel:
    """The record of an ONNX file as it lies on disk."""
    proto = onnx.load(path, load_external_data=False)
    outputs = tuple(
        TensorSpec(
            name=value.name,
            dtype=str(tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            shape=tuple("batch" if axis == 0 else size for axis, size in enumerate(_dims(value))),
        )
        for value in proto.graph.output
    )
    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    return OnnxModel(
        path=path,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        opset=opset,
        exporter=exporter,
        inputs=inputs,
        outputs=outputs,
        reference=reference,
    )
