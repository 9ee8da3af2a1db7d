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
    answers = run_named(open_session(bare.path), samples.inputs, workload.outputs)
    fitted, notes = [], list(candidate.notes)
    for goal, target, own in zip(workload.goals, samples.targets, dataset.fitted, strict=True):
        learned, doubts = goal.answer.fit([answers[name] for name in goal.outputs], target, own)
        fitted.append(learned)
        notes += doubts
    path = bare.path.with_name(f"{bare.path.stem}.decided.onnx")
    onnx_model = _append(workload, bare, tuple(fitted), path)
    return candidate.model_copy(
        update={"onnx": onnx_model, "bare": bare, "fitted": tuple(fitted), "notes": tuple(notes)}
    )


def _append(workload: Workload, bare: OnnxModel, fitted: tuple[Fitted, ...], path: Path) -> OnnxModel:
    """Write the file with the decisions' nodes; what they are made of is given back only where the goal asks for it."""
    proto = onnx.load(bare.path)
    graph, given = proto.graph, {value.name: value for value in proto.graph.output}
    decided: list[onnx.ValueInfoProto] = []
    for goal, own in zip(workload.goals, fitted, strict=True):
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
