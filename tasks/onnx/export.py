"""Checkpoint → OnnxModel: one file with named, truly dynamic axes, by whichever exporter is right for the model."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.arrays import Samples
from tasks.data.dataset import read_split
from tasks.errors import StepError
from tasks.onnx.exporters import EXPORTERS, quiet
from tasks.records import Candidate, Checkpoint, Dataset, OnnxModel, TensorSpec
from tasks.system.files import sha256_of, write_atomically
from tasks.training.module import all_outputs, load_module
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from torch import nn

    Arrays = dict[str, np.ndarray[Any, Any]]

TOLERANCE = 1e-3
"""Largest difference from torch, absolute and relative, at which an exporter counts as right for a model."""

_BATCHES = (1, 2, 7)

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
    module: "nn.Module", workload: Workload, dataset: Dataset, path: Path, metadata: Mapping[str, str]
) -> OnnxModel:
    """Write `module` to `path` as ONNX and its outputs on the first validation rows beside it, as the reference.

    Each exporter is silently wrong for some models (dynamo fixes an LSTM's length, TorchScript a transformer's), so the
    file is kept only if its axes are dynamic and sizes that were never traced agree with torch. Raises StepError, with
    what each exporter said, when none does.
    """
    rows = read_split(dataset, "validation")
    module = module.cpu().eval()
    failures = []
    for name, export in EXPORTERS.items():
        try:
            with quiet():
                proto = export(module, workload, dataset, _sample(rows, 3))
            problem = check_export(proto, module, workload, dataset, rows)
        except Exception as error:  # exporters raise whatever they meet
            problem = (
                f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            )
        if problem is None:
            return _write(proto, name, module, dataset, rows, path, metadata)
        failures.append(f"{name}: {problem}")
    raise StepError(
        f"Workload {workload.name}: its model does not export to ONNX. {' | '.join(failures)}. Change the operation that is named, or its shapes."
    )


def check_export(
    proto: "onnx.ModelProto", module: "nn.Module", workload: Workload, dataset: Dataset, rows: Samples
) -> str | None:
    """What is wrong with an exported graph, in words, or None: names, dynamic axes, and odd sizes against torch."""
    import numpy as np
    import onnxruntime as ort

    wanted = {spec.name: spec for spec in dataset.inputs}
    found = {value.name: _dims(value) for value in proto.graph.input}
    if set(found) != set(wanted):
        return f"its inputs are named {sorted(found)} where the workload says {sorted(wanted)}"
    for name, spec in wanted.items():
        fixed = [
            axis
            for axis, size in enumerate(spec.shape)
            if isinstance(size, str) and isinstance(found[name][axis], int)
        ]
        if fixed:
            return f"axis {fixed[0]} of {name} became fixed at {found[name][fixed[0]]}"
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for arrays in odd_sizes(rows, dataset, workload):
        expected = run_module(module, arrays)
        got = session.run(None, arrays)
        for one, other in zip(expected, got, strict=True):
            if one.shape != other.shape or not np.allclose(
                one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
            ):
                sizes = {name: array.shape for name, array in arrays.items()}
                return f"its answers for inputs of {sizes} differ from torch's"
    return None


def run_module(module: "nn.Module", arrays: "Arrays") -> "list[np.ndarray[Any, Any]]":
    """The module's outputs for named arrays, as a list of arrays whether it returns a tensor, a tuple or a dict."""
    import torch

    with torch.inference_mode():
        outputs = module(**{name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    return [tensor.numpy() for tensor in all_outputs(outputs).values()]


def odd_sizes(rows: Samples, dataset: Dataset, workload: Workload) -> "Iterator[Arrays]":
    """Real rows in batches, and along every further dynamic axis in lengths, that no exporter has traced."""
    for batch in _BATCHES:
        yield _sample(rows, batch)
    for axis_name in sorted({name for axes in workload.dynamic.values() for name in axes.values()}):
        for share in (0.3, 0.7):
            yield _shortened(_sample(rows, 2), workload, axis_name, share)


def _shortened(arrays: "Arrays", workload: Workload, axis_name: str, share: float) -> "Arrays":
    import numpy as np

    for name, axes in workload.dynamic.items():
        for axis, named in axes.items():
            if named == axis_name:
                length = max(1, int(arrays[name].shape[axis] * share))
                arrays[name] = np.ascontiguousarray(arrays[name].take(range(length), axis=axis))
    return arrays


def _sample(rows: Samples, count: int) -> "Arrays":
    import numpy as np

    return {name: np.resize(array[:count], (count, *array.shape[1:])) for name, array in rows.inputs.items()}


def _dims(value: "onnx.ValueInfoProto") -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]


def _write(
    proto: "onnx.ModelProto",
    exporter: str,
    module: "nn.Module",
    dataset: Dataset,
    rows: Samples,
    path: Path,
    metadata: Mapping[str, str],
) -> OnnxModel:
    import numpy as np
    import onnx

    onnx.helper.set_model_props(proto, dict(sorted(metadata.items())))
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString(deterministic=True))
    outputs = run_module(module, {name: array[:_REFERENCE_ROWS] for name, array in rows.inputs.items()})
    reference = path.with_suffix(".reference.npy")
    write_atomically(reference, lambda file: np.save(file, outputs[0], allow_pickle=False))
    return describe(path, exporter, dataset.inputs, reference)


def describe(path: Path, exporter: str, inputs: tuple[TensorSpec, ...], reference: Path | None) -> OnnxModel:
    """The record of an ONNX file as it lies on disk."""
    import onnx
    from onnx.helper import tensor_dtype_to_np_dtype

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
