"""OnnxModel → the file that ships: what the goals decide, fitted on this file's own answers, as nodes behind its outputs."""

from pathlib import Path

import onnx

from tasks.data.dataset import read_split
from tasks.onnx.description import axes_of, describe
from tasks.onnx.session import open_session, run_named
from tasks.records import Candidate, Dataset, Fitted, OnnxModel
from tasks.system.files import write_atomically
from tasks.workloads.workload import Workload


def with_decision(workload: Workload, dataset: Dataset, candidate: Candidate) -> Candidate:
    """The candidate with the file that decides beside the one that it was made of; the same where outputs are the answers.

    Thresholds are fitted on the validation rows' answers of these very bytes: a file of 8 bits has its own.
    """
    if candidate.onnx is None or workload.served == workload.outputs:
        return candidate
    bare = candidate.onnx
    samples = read_split(dataset, "validation")
    fitted, notes = [], list(candidate.notes)
    if any(goal.answer.thresholds for goal in workload.goals):
        answers = run_named(open_session(bare.path), samples.inputs, workload.outputs)
    for goal, target, own in zip(workload.goals, samples.targets, dataset.fitted, strict=True):
        if not goal.answer.thresholds:
            fitted.append(own)
            continue
        learned, doubts = goal.answer.fit([answers[name] for name in goal.outputs], target, own)
        fitted.append(learned)
        notes += doubts
    path = bare.path.with_name(f"{bare.path.stem}.decided.onnx")
    onnx_model = _append(workload, bare, tuple(fitted), path)
    return candidate.model_copy(
        update={"onnx": onnx_model, "bare": bare, "fitted": tuple(fitted), "notes": tuple(notes)}
    )


def _make_way(graph: onnx.GraphProto, names: set[str]) -> None:
    """Rename what inside the graph has a name that the decision is served under, such as a parameter called label."""
    for node in graph.node:
        for own in (node.input, node.output):
            own[:] = [f"decide/{name}/before" if name in names else name for name in own]
    for tensor in (*graph.initializer, *graph.value_info):
        if tensor.name in names:
            tensor.name = f"decide/{tensor.name}/before"


def _as_float(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    """Have an output of another type of numbers, such as float16, come as float32, which words and thresholds are found by."""
    kind = value.type.tensor_type
    if kind.elem_type == onnx.TensorProto.FLOAT:
        return
    own = f"decide/{value.name}/own"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [own if name == value.name else name for name in names]
    graph.node.append(onnx.helper.make_node("Cast", [own], [value.name], to=onnx.TensorProto.FLOAT))
    kind.elem_type = onnx.TensorProto.FLOAT


def _append(workload: Workload, bare: OnnxModel, fitted: tuple[Fitted, ...], path: Path) -> OnnxModel:
    """Write the file with the decisions' nodes; what they are made of is given back only where the goal asks for it."""
    proto = onnx.load(bare.path)
    graph, given = proto.graph, {value.name: value for value in proto.graph.output}
    _make_way(graph, {*workload.served} - {*given})
    decided: list[onnx.ValueInfoProto] = []
    for goal, own in zip(workload.goals, fitted, strict=True):
        for name in goal.outputs:
            _as_float(graph, given[name])
        shapes = {name: axes_of(given[name]) for name in goal.outputs}
        head = goal.answer.head(shapes, own)
        own_outputs = {name: given.pop(name) for name in goal.outputs}
        if head is not None:
            graph.node.extend(head.nodes)
            graph.initializer.extend(head.constants)
            decided += head.outputs
        decided += [value for name, value in own_outputs.items() if name in goal.served]
    del graph.output[:]
    graph.output.extend([*decided, *given.values()])
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString(deterministic=True))
    described = describe(path, bare.exporter, bare.inputs, bare.reference)
    return described.model_copy(update={"lengths": bare.lengths, "findings": bare.findings})
