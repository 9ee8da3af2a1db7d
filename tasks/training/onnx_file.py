"""An ONNX file of somebody's: what a server could not run is refused here, in words, before anything is measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.helper import tensor_dtype_to_np_dtype

from tasks.data.arrays import Array
from tasks.errors import UserError
from tasks.system.protobuf import messages
from tasks.system.sentences import first_line, some

_OLDEST_OPSET = 7
"""From here on ONNX Runtime promises to run what once was right."""

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""What ONNX Runtime, and so MLflow and the server, has kernels for without a library of its own."""

_NEWEST = {
    "opset": (re.compile(r"till opset (\d+)"), "export with opset_version={}"),
    "IR version": (re.compile(r"max supported IR version: (\d+)"), "set model.ir_version = {} and save it"),
}

_INTEGER_OPS = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinear")


class OnnxFile:
    """A checked file: its graph with the learned outputs first, its free axes, and its answers, unoptimised.

    Raises UserError for what is no ONNX file, keeps weights elsewhere, needs operators of its own, is too new or too old,
    answers in text or in pieces, or has no outputs called `first`.
    """

    def __init__(self, name: str, content: bytes, first: Sequence[str]) -> None:
        self.proto = _parsed(content, name)
        for check in (_check_whole, _check_operators, _check_age):
            check(self.proto, name)
        graph = self.proto.graph
        self.quantised = any(node.op_type.startswith(_INTEGER_OPS) for node in _nodes(self.proto))
        self._session = _session(self.proto, name, optimised=self.quantised)
        _check_graph(self.proto, name)
        _put_first(graph, first, name)
        fixed = {tensor.name for tensor in graph.initializer}
        self.inputs = {value.name: value for value in graph.input if value.name not in fixed}
        self.weights = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)

    @property
    def axes(self) -> dict[str, tuple[int | None, ...]]:
        """The sizes at which each input's axes are fixed, None where they are free; of those whose shape is said."""
        shaped = {
            k: v.type.tensor_type.shape
            for k, v in self.inputs.items()
            if v.type.tensor_type.HasField("shape")
        }
        return {name: tuple(_sizes(shape)) for name, shape in shaped.items()}

    @property
    def dtypes(self) -> dict[str, str]:
        """What numpy calls each input's kind of number."""
        kinds = {name: value.type.tensor_type.elem_type for name, value in self.inputs.items()}
        return {name: str(tensor_dtype_to_np_dtype(kind)) for name, kind in kinds.items()}

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, the learned one first."""
        names = [value.name for value in self.proto.graph.output]
        given = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return dict(zip(names, self._session.run(names, given), strict=True))


def _parsed(content: bytes, name: str) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own errors have no base of Python's
        raise UserError(f"{name} is not an ONNX file: {first_line(error)}.") from error
    if not proto.graph.output:
        raise UserError(f"{name} is not an ONNX file: it has no graph.")
    return proto


def _check_whole(proto: onnx.ModelProto, name: str) -> None:
    """A digest has to cover all that is served, and a path in a file may lead anywhere."""
    tensors = [message for message in messages(proto) if isinstance(message, onnx.TensorProto)]
    outside = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    if outside or any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        raise UserError(
            f"{name} keeps weights in another file ({some(sorted(outside), 2) or 'not named'}): export it with external_data=False, or "
            f"put them in with onnx.save(onnx.load({name!r}), 'whole.onnx')."
        )


def _check_operators(proto: onnx.ModelProto, name: str) -> None:
    own = {(function.domain, function.name) for function in proto.functions}
    strange = [
        node
        for node in _nodes(proto)
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own
    ]
    if strange:
        first = strange[0]
        instead = (
            "leave it out and name Text(tokenizer=…) in inputs"
            if "Tokenizer" in first.op_type
            else "leave it out, and do its work in inputs()"
        )
        raise UserError(
            f"{name} uses {first.domain}:{first.op_type}, which neither MLflow nor the server loads: {instead}."
        )


def _check_age(proto: onnx.ModelProto, name: str) -> None:
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < _OLDEST_OPSET:
        raise UserError(
            f"{name} is of opset {opset}, and ONNX Runtime promises to run {_OLDEST_OPSET} and newer: export it anew, or convert it "
            "with onnx.version_converter."
        )


def _check_graph(proto: onnx.ModelProto, name: str) -> None:
    """After the runtime, which says best what is too new for it: the checker sees what that forgives."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's errors have no common base
        raise UserError(f"{name} does not pass the ONNX checker: {first_line(error)}.") from error
    for value in proto.graph.output:
        if not value.type.HasField("tensor_type"):
            raise UserError(
                f"{name} gives {value.name} as a {value.type.WhichOneof('value')}, and only tensors are served: leave it out, or export "
                "with zipmap=False."
            )
        if value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            raise UserError(
                f"{name} gives {value.name} as text: leave it out, and give the numbers behind it."
            )


def _put_first(graph: onnx.GraphProto, first: Sequence[str], name: str) -> None:
    """The outputs that are learned and scored before all others, as in every file of ours."""
    outputs = {value.name: value.SerializeToString() for value in graph.output}
    if absent := [output for output in first if output not in outputs]:
        raise UserError(
            f"{name} gives {some(list(outputs), 5)} and no {absent[0]}: say output={next(iter(outputs))!r}."
        )
    del graph.output[:]
    for output in dict.fromkeys([*first, *outputs]):
        graph.output.add().ParseFromString(outputs[output])


def _nodes(proto: onnx.ModelProto) -> Iterator[Any]:
    """All nodes, also those of branches, loops and functions."""
    return (message for message in messages(proto) if isinstance(message, onnx.NodeProto))


def _sizes(shape: onnx.TensorShapeProto) -> Iterator[int | None]:
    """Some exporters write 0 or -1 for an axis that is free."""
    return (dim.dim_value if dim.dim_value > 0 else None for dim in shape.dim)


def _session(proto: onnx.ModelProto, name: str, *, optimised: bool) -> onnxruntime.InferenceSession:
    """Without optimisations, but for 8-bit nodes: there they decide how numbers are rounded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's own errors have no common base
        for what, (limit, fix) in _NEWEST.items():
            if match := limit.search(str(error)):
                newest = match[1]
                raise UserError(
                    f"{name} is of a newer {what} than this ONNX Runtime takes, which is {newest}: {fix.format(newest)}."
                ) from error
        raise UserError(f"{name} does not load in ONNX Runtime: {first_line(error)}.") from error
