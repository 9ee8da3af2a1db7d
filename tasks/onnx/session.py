"""The one place that makes an ONNX Runtime session: what is measured runs as what is served. Light to import."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

    Array = np.ndarray[Any, Any]
    Inputs = dict[str, Array]


def run_rows(
    session: "onnxruntime.InferenceSession", inputs: "Inputs", batch: int = 256, rows: int | None = None
) -> "Array":
    """The first output for all rows (or the first `rows`), [n, ...], computed `batch` rows at a time."""
    import numpy as np

    total = len(next(iter(inputs.values()))) if rows is None else rows
    name = session.get_outputs()[0].name
    return np.concatenate(
        [
            session.run(
                [name],
                {k: np.ascontiguousarray(a[start : min(start + batch, total)]) for k, a in inputs.items()},
            )[0]
            for start in range(0, total, batch)
        ]
    )


# Where a TensorProto can hide in a ModelProto, as {message: {field number: message}} (onnx/onnx.proto).
_NESTED: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def open_session(model: Path | bytes, threads: int = 1) -> "onnxruntime.InferenceSession":
    """A CPU session with the server's options, from a path or from bytes that were verified.

    Raises UserError when the file cannot be loaded or keeps tensors outside itself: its digest must cover all.
    """
    import onnxruntime

    content = model if isinstance(model, bytes) else model.read_bytes()
    name = "The ONNX model" if isinstance(model, bytes) else model.name
    refuse_external_data(content, name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what fails is raised; a server must not log every client's bad row too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{name} does not load in ONNX Runtime: {reason}") from error


def refuse_external_data(content: bytes, name: str) -> None:
    """Raise UserError when any tensor points outside the file, or the bytes are no protobuf.

    Read from the wire format: the server has no onnx package, and a runtime would have read the other file.
    """
    stack = [("Model", memoryview(content))]
    try:
        while stack:
            message, view = stack.pop()
            for number, value in _fields(view):
                if message == "Tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                    raise UserError(
                        f"{name} keeps weights in another file: export it with external_data=False."
                    )
                inner = _NESTED.get(message, {}).get(number)
                if inner is not None and isinstance(value, memoryview):
                    stack.append((inner, value))
    except (IndexError, ValueError) as error:
        raise UserError(f"{name} is not an ONNX file: {error}.") from error


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(view):
        key, position = _varint(view, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(view, position)
            yield key >> 3, value
            continue
        if wire == 2:
            length, position = _varint(view, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {position}")
        if position + length > len(view):
            raise ValueError("it ends too early")
        yield key >> 3, view[position : position + length]
        position += length


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number without an end")
