"""What an ONNX file says of itself, as a record: its tensors, its opset, its size and its digest."""

from pathlib import Path

import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from tasks.records import OnnxModel, TensorSpec
from tasks.system.files import sha256_of


def describe(path: Path, exporter: str, inputs: tuple[TensorSpec, ...], reference: Path | None) -> OnnxModel:
    """The record of an ONNX file as it lies on disk; text is of the type str."""
    proto = onnx.load(path, load_external_data=False)
    outputs = tuple(
        TensorSpec(
            name=value.name,
            dtype=_dtype_of(value),
            shape=axes_of(value),
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


def axes_of(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    """The shape of an output: axis 0 is the batch, a name is a length that a request decides."""
    return tuple("batch" if axis == 0 else size for axis, size in enumerate(dims(value)))


def _dtype_of(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type.elem_type
    return "str" if kind == onnx.TensorProto.STRING else str(tensor_dtype_to_np_dtype(kind))


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]
