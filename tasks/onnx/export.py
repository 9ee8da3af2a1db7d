"""Checkpoint → OnnxModel: one file with named, truly dynamic axes, by whichever exporter is right for the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import InferenceSession
from torch import nn

from tasks.codecs.decoding import METADATA
from tasks.data.arrays import Array, Samples, save_arrays
from tasks.data.dataset import read_split
from tasks.errors import StepError
from tasks.onnx.decision import with_decision
from tasks.onnx.description import describe, dims
from tasks.onnx.exporter_output import Line, followed, is_by_data, own_line, quietly, reason, unsaid
from tasks.onnx.exporters import exporters_of
from tasks.onnx.origin import remove_origin
from tasks.onnx.session import open_session
from tasks.onnx.sizes import Arrays, batch_of, edge_rows, odd_sizes, otherwise, reference_lengths
from tasks.records import Candidate, Checkpoint, Dataset, OnnxModel
from tasks.system.files import is_the_machines, write_atomically
from tasks.training.footprint import without_footprint
from tasks.training.given import reference_of, rounds
from tasks.training.module import answers, load_module
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
    bare = Candidate(name="fp32", onnx=export_module(module, workload, dataset, path, metadata))
    return with_decision(workload, dataset, bare)


def export_module(
    module: nn.Module, workload: Workload, dataset: Dataset, path: Path, metadata: Mapping[str, str]
) -> OnnxModel:
    """Write `module` to `path` as ONNX and its outputs on the first validation rows beside it, as the reference.

    Each exporter is silently wrong for some models (dynamo fixes an LSTM's length, TorchScript a transformer's and
    whatever is decided by the data), so the file is kept only if its axes are dynamic and it agrees with torch at sizes
    that were never traced, on rows at the edges of every split and on rows of other signs and sizes. Raises StepError,
    with what each exporter said, when none does.
    """
    samples = read_split(dataset, "validation")
    module = module.cpu().eval()
    failures: dict[str, Exception | str] = {}
    for name, export in exporters_of(module).items():
        try:
            with quietly() as frozen:
                proto = export(module, workload, dataset, batch_of(samples, 3))
            findings = _findings(workload, frozen, failures.get("dynamo"))
            with without_footprint(module):
                declare_free_axes(proto, module, workload, samples)
                problem = check_export(proto, module, workload, dataset, samples)
                if problem is None:
                    lengths = reference_lengths(samples.inputs, workload)
                    return write_export(
                        proto, name, module, dataset, samples, path, metadata, findings, lengths
                    )
            failures[name] = problem
        except StepError:
            raise
        except Exception as error:  # exporters raise whatever they meet
            if is_the_machines(error):
                raise
            failures[name] = error
    said = " | ".join(
        f"{name}: {why if isinstance(why, str) else reason(why)}" for name, why in failures.items()
    )
    raise StepError(
        f"Workload {workload.name}: its model does not export to ONNX. {said}. Change the operation that is named, or its shapes."
    )


def _findings(workload: Workload, frozen: list[Line], by_dynamo: Exception | str | None) -> tuple[str, ...]:
    """What a trace has frozen, in words. Raises StepError when torch.export, which sees decisions, says that it is one.

    What that followed to the end decides by shapes, which odd sizes try.
    """
    error = by_dynamo if isinstance(by_dynamo, Exception) else None
    frozen = [*dict.fromkeys([*frozen, *(unsaid(error) if error else ())])]
    if not frozen or followed(error):
        return ()
    assert error is not None
    if is_by_data(error) and (line := own_line(error)) in frozen:
        raise StepError(
            f"Workload {workload.name}: its model decides by the data at {line}, and a graph computes the same for all rows "
            f"({reason(error, with_line=False)}): use torch.where, or torch.cond."
        )
    return tuple(f"{line} was traced with a fixed value: is it a decision by the data?" for line in frozen)


def check_export(
    proto: onnx.ModelProto, module: nn.Module, workload: Workload, dataset: Dataset, samples: Samples
) -> str | None:
    """What is wrong with an exported graph, in words, or None: names, dynamic axes, and its answers against torch's."""
    return _input_problem(proto, dataset) or _answer_problem(proto, module, workload, dataset, samples)


def declare_free_axes(
    proto: onnx.ModelProto, module: nn.Module, workload: Workload, samples: Samples
) -> None:
    """Have the graph say of each output's axis whether it is fixed, by what torch gives at odd sizes."""
    answered = [
        [o.shape for o in answers(module, arrays).values()] for arrays in odd_sizes(samples, workload)
    ]
    for value, shapes in zip(proto.graph.output, zip(*answered, strict=True), strict=True):
        said = {axis: dim.dim_param for axis, dim in enumerate(value.type.tensor_type.shape.dim)}
        value.type.tensor_type.ClearField("shape")
        for axis, sizes in enumerate(zip(*shapes, strict=True)):
            dim = value.type.tensor_type.shape.dim.add()
            if axis == 0:
                dim.dim_param = "batch"
            elif len({*sizes}) == 1:
                dim.dim_value = sizes[0]
            else:
                dim.dim_param = said.get(axis) or f"{value.name}_{axis}"


def _input_problem(proto: onnx.ModelProto, dataset: Dataset) -> str | None:
    wanted = {spec.name: spec.shape for spec in dataset.inputs}
    shapes = {value.name: dims(value) for value in proto.graph.input}
    if set(shapes) != set(wanted):
        return f"its inputs are named {sorted(shapes)} where the workload says {sorted(wanted)}"
    for name, shape in wanted.items():
        for axis, size in enumerate(shape):
            if isinstance(size, str) and isinstance(shapes[name][axis], int):
                return f"axis {axis} of {name} became fixed at {shapes[name][axis]}"
    return None


def _answer_problem(
    proto: onnx.ModelProto, module: nn.Module, workload: Workload, dataset: Dataset, samples: Samples
) -> str | None:
    session, whose = open_session(proto.SerializeToString()), reference_of(module)
    for arrays in odd_sizes(samples, workload):
        if not _answers_agree(session, module, arrays):
            sizes = {name: array.shape for name, array in arrays.items()}
            return f"its answers for inputs of {sizes} differ from {whose}"
    edges = edge_rows(dataset)
    for row in range(len(next(iter(edges.values())))):
        if not _answers_agree(session, module, {name: array[row : row + 1] for name, array in edges.items()}):
            return f"its answer to a row at the edge of the data differs from {whose}"
    for what, arrays in otherwise(batch_of(samples, 7)):
        try:
            answers(module, arrays)
        except Exception:  # numbers that the model itself does not take
            continue
        if not _answers_agree(session, module, arrays):
            return f"its answers to rows {what} differ from {whose}: it decides by the data, or leaves the range of its numbers"
    return None


def _answers_agree(session: InferenceSession, module: nn.Module, arrays: Arrays) -> bool:
    pairs = zip(answers(module, arrays).values(), session.run(None, arrays), strict=True)
    return all(_agree(expected.numpy(), answer, rounds(module)) for expected, answer in pairs)


def _agree(expected: Array, answer: Array, rounded: bool = False) -> bool:
    """Within rounding, which grows with the numbers; where torch has no number of its own, the file need not have its.

    What is rounded to 8 bits is held to its decisions later, where it is measured.
    """
    alike = bool(expected.shape == answer.shape)
    if rounded or not alike:
        return alike
    finite = np.isfinite(expected) | (expected.dtype.kind != "f")
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    return np.allclose(expected[finite], answer[finite], rtol=TOLERANCE, atol=TOLERANCE * scale)


def write_export(
    proto: onnx.ModelProto,
    exporter: str,
    module: nn.Module,
    dataset: Dataset,
    samples: Samples,
    path: Path,
    metadata: Mapping[str, str],
    findings: tuple[str, ...] = (),
    lengths: Iterable[tuple[str, Arrays]] = (),
) -> OnnxModel:
    """Put an exported graph at `path`, and the module's outputs on the first of these rows, and at `lengths`, beside it."""
    remove_origin(proto)
    bound = {**metadata, METADATA: dataset.codec.sha256} if dataset.codec else metadata
    onnx.helper.set_model_props(proto, dict(sorted(bound.items())))
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString(deterministic=True))
    names = [value.name for value in proto.graph.output]

    def outputs(arrays: Arrays, at: str = "") -> Arrays:
        pairs = zip(names, answers(module, arrays).values(), strict=True)
        return {at + name: output.numpy() for name, output in pairs}

    reference, shorter = path.with_suffix(".reference.npz"), path.with_suffix(".lengths.npz")
    save_arrays(reference, outputs(samples[:_REFERENCE_ROWS].inputs))
    described = describe(path, exporter, dataset.inputs, reference).model_copy(update={"findings": findings})
    kept = [outputs(arrays, f"{sizes} ") for sizes, arrays in lengths]
    if not kept:
        return described
    save_arrays(shorter, {name: array for arrays in kept for name, array in arrays.items()})
    return described.model_copy(update={"lengths": shorter})
