"""What a session is, and the one place that makes ONNX Runtime's: what is measured runs as what is served. Light to import."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.errors import LostError, UserError
from tasks.system.files import is_the_machines
from tasks.system.protobuf import messages
from tasks.system.sentences import first_line

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

    Array = np.ndarray[Any, Any]
    Inputs = dict[str, Array]

_OUTSIDE = "session.model_external_initializers_file_folder_path"
"""Where ONNX Runtime looks for tensors outside a file; no folder, so that it refuses them wherever they hide."""


class Session(Protocol):
    """A graph that can be run: as ONNX Runtime's own session, which is one."""

    def run(self, names: Sequence[str] | None, feed: "Mapping[str, Array]") -> "list[Array]": ...

    def get_inputs(self) -> Any: ...

    def get_outputs(self) -> Any: ...

    def get_modelmeta(self) -> Any: ...


def run_rows(session: Session, inputs: "Inputs", batch: int = 256, rows: int | None = None) -> "Array":
    """The first output for all rows (or the first `rows`), [n, ...], computed `batch` rows at a time."""
    name = session.get_outputs()[0].name
    return run_named(session, inputs, (name,), batch, rows)[name]


def run_named(
    session: Session,
    inputs: "Inputs",
    names: Sequence[str],
    batch: int = 256,
    rows: int | None = None,
) -> "Inputs":
    """The outputs of these names, in the same way; text as numpy's own strings."""
    import numpy as np

    first = {name: array[:rows] for name, array in inputs.items()}
    outputs = []
    for start in range(0, len(next(iter(first.values()))), batch):
        few = {name: np.ascontiguousarray(array[start : start + batch]) for name, array in first.items()}
        outputs.append(session.run(list(names), few))
    whole = map(np.concatenate, zip(*outputs, strict=True))
    return {
        name: array.astype(str) if array.dtype == object else array
        for name, array in zip(names, whole, strict=True)
    }


def open_session(model: Path | bytes, threads: int = 1) -> "onnxruntime.InferenceSession":
    """A CPU session with the server's options, from a path or from bytes that were verified.

    Raises UserError when the file cannot be loaded or needs tensors from outside itself: its digest must cover all; LostError
    when there is no memory for it.
    """
    import onnxruntime

    content = model if isinstance(model, bytes) else model.read_bytes()
    name = "The ONNX model" if isinstance(model, bytes) else model.name
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what fails is raised; a server must not log every client's bad row too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_OUTSIDE, os.devnull)
    options.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # not its own, which nothing else checks
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if is_the_machines(error):
            raise LostError(
                f"There is no memory to load {name} ({first_line(error)}): free some and run again."
            ) from error
        with contextlib.suppress(ImportError):  # a server has no onnx, and says what ONNX Runtime says
            refuse_external_data(content, name)
        raise UserError(f"{name} does not load in ONNX Runtime: {first_line(error)}") from error


def refuse_external_data(content: bytes, name: str) -> None:
    """Raise UserError when any tensor says that it lies outside the file, or the bytes are no ONNX file."""
    import onnx

    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:
        raise UserError(f"{name} is not an ONNX file: {first_line(error)}.") from None
    if any(_is_external(message) for message in messages(proto)):
        raise UserError(f"{name} keeps weights in another file: export it with external_data=False.")


def _is_external(message: Any) -> bool:
    if message.DESCRIPTOR.full_name != "onnx.TensorProto":
        return False
    return bool(message.external_data) or message.data_location != 0
