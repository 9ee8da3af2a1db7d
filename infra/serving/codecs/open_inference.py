"""Open Inference Protocol v2 over HTTP, with its binary tensor extension."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np
import orjson

from infra.serving.codecs.bytes_tensors import in_json, packed, unpacked
from infra.serving.codecs.json_arrays import exact, written
from infra.serving.codecs.limits import limits_of
from infra.serving.codecs.number_text import NumberText
from infra.serving.codecs.strict_json import load, soon_read
from infra.serving.codecs.values import NUMBERS, Taking
from infra.serving.wire.headings import Heading, Headings
from infra.serving.wire.problems import malformed, shown, unacceptable
from infra.serving.wire.tensors import Array, Outputs, RequestRows, Spec, Tensor

MAX_PLANS = 256

MAX_TEXT = 4096

MAX_BOOLEANS = 1024 * 1024
"""Bytes of binary tensors that are looked at one by one in less than a millisecond, which only booleans are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a v2 request asks to get back: which outputs, which of them binary, under which id."""

    id: str | None
    outputs: tuple[tuple[int, bool], ...]
    texts: dict[object, list[bytes]] = field(default_factory=dict, compare=False)
    """JSON parts that were made for answers all binary: they depend on the version and the shapes alone."""

    def render(self, headings: Headings, outputs: Outputs, start: int, stop: int) -> tuple[Heading, bytes]:
        """The answer for rows start to stop, with the length of its JSON part among the headers if binary tensors follow it."""
        arrays = [outputs.arrays[index][start:stop] for index, _ in self.outputs]
        raw = [array.tobytes() for array, (_, binary) in zip(arrays, self.outputs, strict=True) if binary]
        if len(raw) < len(arrays):
            text = self._text(outputs.spec, arrays, headings)
        else:
            key = (headings.version, *[array.shape for array in arrays])
            text = self.texts.get(key, [])
            if not text:
                text = [b"".join(self._text(outputs.spec, arrays, headings))]
                if len(self.texts) < MAX_PLANS:
                    self.texts[key] = text
        heading = headings.with_length(sum(map(len, text))) if raw else headings.json
        return heading, b"".join([*text, *raw])

    def _text(
        self, spec: Spec, arrays: list[Array], headings: Headings, sizes: Mapping[int, int] = {}
    ) -> list[bytes]:
        about = {"model_name": headings.model, "model_version": headings.version}
        if self.id is not None:
            about["id"] = self.id
        text, mark = [orjson.dumps(about)[:-1]], b',"outputs":['
        for array, (index, binary) in zip(arrays, self.outputs, strict=True):
            tensor = spec.outputs[index]
            head: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": array.shape}
            if binary:
                size = sizes.get(index, array.nbytes)
                sized = {**head, "parameters": {"binary_data_size": size}}
                text += (mark, orjson.dumps(sized))
            else:
                flat = np.ascontiguousarray(array).reshape(-1)
                text += (mark, orjson.dumps(head)[:-1], b',"data":', *written(flat), b"}")
            mark = b","
        return [*text, b"]}"]


class WantedText(Wanted):
    """The same of a model some of whose outputs are text, which is as long as it is: nothing of it is kept."""

    __slots__ = ()

    def render(self, headings: Headings, outputs: Outputs, start: int, stop: int) -> tuple[Heading, bytes]:
        arrays = [outputs.arrays[index][start:stop] for index, _ in self.outputs]
        raw = {
            index: packed(array) if array.dtype.kind == "O" else array.tobytes()
            for array, (index, binary) in zip(arrays, self.outputs, strict=True)
            if binary
        }
        text = self._text(outputs.spec, arrays, headings, {index: len(part) for index, part in raw.items()})
        heading = headings.with_length(sum(map(len, text))) if raw else headings.json
        return heading, b"".join([*text, *raw.values()])


class Plan(NamedTuple):
    """What the JSON part of a request of binary tensors alone comes to: the same text always means the same."""

    rows: int
    key: tuple[tuple[str, tuple[int, ...]], ...]
    sizes: tuple[int, ...]
    size: int
    wanted: Wanted

    def read(self, raw: memoryview) -> RequestRows:
        buffers, at = [], 0
        for size in self.sizes:
            buffers.append(raw[at : at + size])
            at += size
        return RequestRows(self.rows, self.key, tuple(buffers), self.size)


class Inference:
    """Reads v2 requests for one model; keeps what the JSON parts that it has seen come to."""

    def __init__(self, spec: Spec, max_rows: int, model: str, taking: Taking = NUMBERS) -> None:
        self.model = model
        self.spec = spec
        self.taking = taking
        self.wanted = WantedText if any(tensor.wire == "s" for tensor in spec.outputs) else Wanted
        self.max_rows = max_rows
        self.limits = limits_of(spec, max_rows)
        self.output_index = {tensor.name: at for at, tensor in enumerate(spec.outputs)}
        self.plans: dict[bytes, Plan] = {}
        self.plain = all(tensor.dtype.kind not in "bO" for tensor in spec.inputs)

    def read(self, body: bytes, header_length: bytes | None) -> tuple[RequestRows, Wanted]:
        """Rows and what to answer, however long that takes; Problem 400 or 422 says what is wrong."""
        return self.at_once(body, header_length) or self.carefully(body, header_length)

    def at_once(self, body: bytes, header_length: bytes | None) -> tuple[RequestRows, Wanted] | None:
        """The same for a body that takes less than a millisecond to read; None for another."""
        text, raw = _parts(body, header_length)
        plan = self.plans.get(text) if len(raw) else None
        if plan is not None and len(raw) == plan.size:
            return plan.read(raw), plan.wanted
        soon = self.taking.prompt and soon_read(text) and (self.plain or len(raw) <= MAX_BOOLEANS)
        return self._read(text, raw) if soon else None

    def carefully(self, body: bytes, header_length: bytes | None) -> tuple[RequestRows, Wanted]:
        """The same for any body; from any thread."""
        return self._read(*_parts(body, header_length))

    def _read(self, text: bytes, raw: memoryview) -> tuple[RequestRows, Wanted]:
        document = load(text, self.limits)
        if not isinstance(document, dict):
            raise unacceptable("the body must be an object with 'inputs'")
        _only(document, {"id", "parameters", "inputs", "outputs", "model_name"}, "the request")
        if document.get("model_name", self.model) != self.model:  # kserve's client says it here, too
            raise unacceptable(
                f"'model_name' is {shown(document['model_name'])}, the path is that of {self.model!r}"
            )
        rows = self.taking.rows_of(self.spec, self._inputs(document.get("inputs"), raw), self.max_rows)
        wanted = self._wanted(document)
        self._remember(text, document["inputs"], rows, wanted)
        return rows, wanted

    def _remember(self, text: bytes, inputs: list[dict[str, Any]], rows: RequestRows, wanted: Wanted) -> None:
        """Keep a JSON part whose tensors all follow it in the model's order; booleans have to be looked at each time."""
        ordered = [item["name"] for item in inputs] == list(self.spec.by_name)
        if not self.plain or not ordered or any("data" in item for item in inputs) or len(text) > MAX_TEXT:
            return
        if len(self.plans) >= MAX_PLANS:
            self.plans.pop(next(iter(self.plans)))
        sizes = tuple(memoryview(buffer).nbytes for buffer in rows.buffers)
        self.plans[text] = Plan(rows.length, rows.key, sizes, rows.size, wanted)

    def _inputs(self, inputs: Any, raw: memoryview) -> list[Array]:
        if not isinstance(inputs, list) or not inputs or not all(isinstance(item, dict) for item in inputs):
            raise unacceptable("'inputs' must be a list of tensors")
        arrays: dict[str, Array] = {}
        for item in inputs:
            _only(item, {"name", "shape", "datatype", "parameters", "data"}, "an input")
            tensor = self.spec.input(item.get("name"))
            if tensor.name in arrays:
                raise unacceptable(f"input {tensor.name!r} appears twice")
            arrays[tensor.name], raw = _tensor(tensor, item, raw)
        if len(raw):
            raise malformed(f"{len(raw)} bytes follow the last binary tensor")
        return self.spec.in_order(arrays)

    def _wanted(self, document: dict[str, Any]) -> Wanted:
        identifier = document.get("id")
        if identifier is not None and not isinstance(identifier, str):
            raise unacceptable("'id' must be a string")
        binary = _flag(_parameters(document, "the request"), "binary_data_output", False)
        asked = document.get("outputs")
        if asked is not None and (
            not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked)
        ):
            raise unacceptable("'outputs' must be a list of objects")
        if not asked:
            return self.wanted(identifier, tuple((at, binary) for at in range(len(self.spec.outputs))))
        outputs = [self._output(item, binary) for item in asked]
        if len({at for at, _ in outputs}) != len(outputs):
            raise unacceptable("an output is asked for twice")
        return self.wanted(identifier, tuple(outputs))

    def _output(self, item: dict[str, Any], binary: bool) -> tuple[int, bool]:
        _only(item, {"name", "parameters"}, "an output")
        name = item.get("name")
        if not isinstance(name, str) or name not in self.output_index:
            raise unacceptable(
                f"the model has no output {shown(name)}; it gives {', '.join(self.output_index)}"
            )
        parameters = _parameters(item, "an output")
        if parameters.get("classification"):
            raise unacceptable("'classification' is not supported; ask for the raw output")
        return self.output_index[name], _flag(parameters, "binary_data", binary)


def _parts(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    length = int(header_length) if header_length.isdigit() and len(header_length) < 12 else -1
    if not 0 <= length <= len(body):
        raise malformed(
            "Inference-Header-Content-Length must be the length of the JSON part, at most that of the body"
        )
    return body[:length], memoryview(body)[length:]


def _tensor(tensor: Tensor, item: dict[str, Any], raw: memoryview) -> tuple[Array, memoryview]:
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise unacceptable(f"the shape of input {tensor.name!r} must be a list of sizes")
    if item.get("datatype") != tensor.datatype:
        raise unacceptable(
            f"input {tensor.name!r} is {shown(item.get('datatype'))}, the model takes {tensor.datatype}"
        )
    tensor.check(tuple(shape))
    parameters = _parameters(item, "an input")
    size = parameters.get("binary_data_size")
    if size is None:
        return _from_json(tensor, shape, item.get("data"), parameters.get("content_type")), raw
    if "data" in item:
        raise unacceptable(f"input {tensor.name!r} has both 'data' and 'binary_data_size'")
    read = unpacked if tensor.wire == "s" else _numbers
    return read(tensor, shape, size, raw)


def _numbers(tensor: Tensor, shape: list[int], size: Any, raw: memoryview) -> tuple[Array, memoryview]:
    if type(size) is not int or size != prod(shape) * tensor.dtype.itemsize or size > len(raw):
        raise unacceptable(
            f"binary_data_size of input {tensor.name!r} does not match its shape, or the body is too short"
        )
    array = np.frombuffer(raw[:size], tensor.dtype)
    if tensor.dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise unacceptable(f"input {tensor.name!r} holds a byte that is neither 0 nor 1")
    return array.reshape(shape), raw[size:]


def _from_json(tensor: Tensor, shape: list[int], data: Any, content_type: Any) -> Array:
    if tensor.wire == "s":
        return in_json(tensor, shape, data, content_type)
    text = data if isinstance(data, NumberText) else None
    if text is None and not isinstance(data, list):
        raise unacceptable(f"input {tensor.name!r} has no 'data'")
    if text.depth > 1 if text else list in set(map(type, data[:1])):
        array = exact(tensor, data)
        if list(array.shape) != shape:
            raise unacceptable(
                f"the data of input {tensor.name!r} has shape {list(array.shape)}, it says {shape}"
            )
        return array
    flat = Tensor(tensor.name, tensor.dtype, (-1,))
    count = text.shape(tensor.name)[0] if text else len(data)
    if count != prod(shape):
        raise unacceptable(f"input {tensor.name!r} has {count} values, its shape {shape} needs {prod(shape)}")
    return exact(flat, data).reshape(shape)


def _parameters(item: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise unacceptable(f"'parameters' of {where} must be an object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise unacceptable(f"{name!r} must be true or false")
    return value


def _only(item: dict[str, Any], names: set[str], where: str) -> None:
    unknown = sorted(item.keys() - names)
    if unknown:
        raise unacceptable(f"{where} has the unknown field {shown(unknown[0])}")
