"""A graph in OpenVINO, asked as ONNX Runtime's session is. Imported where a candidate or a version runs in it, and nowhere else."""

import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.engines import ALWAYS
from tasks.errors import UserError
from tasks.onnx.graph_parts import parts_of
from tasks.onnx.session import open_session
from tasks.system.sentences import first_line

if TYPE_CHECKING:
    from types import ModuleType

    import onnxruntime

    from tasks.engines import Engine

    Array = np.ndarray[Any, Any]

_HINTS = {"fp32": "f32", "bf16": "bf16"}

_TELEMETRY = "openvino_telemetry"


def load() -> "ModuleType":
    """The package without its telemetry.

    OpenVINO tells Google that it was imported, unless ~/intel/openvino_telemetry says no or `openvino_telemetry` is not there, for
    which it has an empty one of its own: so it finds none.
    """
    if "openvino" not in sys.modules:
        blocked: dict[str, Any] = sys.modules
        blocked[_TELEMETRY] = None
    import openvino

    module: ModuleType = openvino
    return module


class OpenVinoSession:
    """A file's graph in OpenVINO; its decision, small batches and rows that OpenVINO would not refuse, in ONNX Runtime."""

    def __init__(self, content: bytes, engine: "Engine", threads: int) -> None:
        """Raises UserError in one sentence where OpenVINO does not take the graph."""
        self.plain = open_session(content, threads)
        """ONNX Runtime on the same bytes."""
        self.rows, self.name = engine.rows, engine.name
        self.ran: Counter[str] = Counter()
        """Rows by the engine that ran them."""
        parts = parts_of(content)
        self.between, self.lookups = parts.between, parts.lookups
        guard = self.lookups.guard
        self.guard = None if guard is None else open_session(guard, threads)
        self.decision: onnxruntime.InferenceSession | None = None
        if parts.decision is not None:
            self.decision = open_session(parts.decision, threads)
        self.names = [value.name for value in self.plain.get_outputs()]
        knobs = {
            "INFERENCE_PRECISION_HINT": _HINTS[engine.numbers or "fp32"],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several workers would be pinned to the same cores
        }
        try:
            core = load().Core()
            self.compiled = core.compile_model(core.read_model(parts.trunk, b""), "CPU", knobs)
        except Exception as error:  # its own errors have no common base
            raise UserError(f"OpenVINO does not take the graph: {_reason(error)}") from error
        given = [output.get_names() for output in self.compiled.outputs]
        self.places = {name: place for place, names in enumerate(given) for name in names}
        self.local = threading.local()  # a request runs one batch at a time

    def run(self, names: Sequence[str] | None, feed: Mapping[str, "Array"]) -> list["Array"]:
        """The outputs of these names, or all, as ONNX Runtime's session gives them."""
        rows = len(next(iter(feed.values())))
        plain = rows < self.rows or self._beyond_tables(feed)
        self.ran[ALWAYS if plain else self.name] += rows
        if plain:
            outputs: list[Array] = self.plain.run(names, feed)
            return outputs
        request = self._request()
        request.infer(feed, share_inputs=True, share_outputs=True)
        wanted, decided = self.names if names is None else names, self._decided(request)
        return [decided[name] if name in decided else self._tensor(request, name).copy() for name in wanted]

    def get_inputs(self) -> Any:
        return self.plain.get_inputs()

    def get_outputs(self) -> Any:
        return self.plain.get_outputs()

    def get_modelmeta(self) -> Any:
        return self.plain.get_modelmeta()

    def _request(self) -> Any:
        try:
            return self.local.request
        except AttributeError:
            self.local.request = self.compiled.create_infer_request()
            return self.local.request

    def _tensor(self, request: Any, name: str) -> "Array":
        tensor: Array = request.get_output_tensor(self.places[name]).data
        return tensor

    def _decided(self, request: Any) -> dict[str, "Array"]:
        if self.decision is None:
            return {}
        own = [value.name for value in self.decision.get_outputs()]
        taken = {name: self._tensor(request, name) for name in self.between}
        return dict(zip(own, self.decision.run(own, taken), strict=True))

    def _beyond_tables(self, feed: Mapping[str, "Array"]) -> bool:
        """Whether something may be looked up that is not there; where a row has nothing at all, not even what comes first is."""
        if not all(array.size for array in feed.values()):
            return True
        if any(_beyond(feed[name], length) for name, length in self.lookups.tables.items()):
            return True
        if self.guard is None:
            return False
        try:
            indices = self.guard.run(None, {name: feed[name] for name in self.lookups.given})
        except Exception:  # ONNX Runtime says it again of the whole graph
            return True
        lengths = self.lookups.lengths
        return any(length and _beyond(each, length) for each, length in zip(indices, lengths, strict=True))


def _beyond(indices: "Array", length: int) -> bool:
    return bool(indices.size and not (0 <= indices.min() and indices.max() < length))


def _reason(error: Exception) -> str:
    """OpenVINO begins with where in its source it fails."""
    lines = [line for line in str(error).splitlines() if line and "failed at" not in line]
    return first_line(ValueError(lines[-1] if lines else str(error)), 200)
