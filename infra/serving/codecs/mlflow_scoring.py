"""MLflow's scoring protocol: `inputs`, `instances`, `dataframe_split` and `dataframe_records` in, `predictions` out.

A body whose outline (the text without its digits) was accepted before is read by simdjson alone; any other is read and
checked piece by piece. Both give the same rows: a test holds them equal.
"""

import base64
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson

from infra.serving.codecs.json_arrays import PIECE, SOURCE, each_written, exact, written
from infra.serving.codecs.limits import limits_of
from infra.serving.codecs.number_text import NumberText
from infra.serving.codecs.strict_json import load, soon_read
from infra.serving.codecs.values import NUMBERS, Taking
from infra.serving.wire.headings import Heading, Headings
from infra.serving.wire.problems import malformed, shown, unacceptable
from infra.serving.wire.tensors import Outputs, RequestRows, Spec, Tensor, listed

FORMATS = ("inputs", "instances", "dataframe_split", "dataframe_records")

NUMBER = b"0123456789.+-eE \t\r\n"

MAX_OUTLINES = 256

MAX_OUTLINE = 64 * 1024

QUICK = 256 * 1024
"""A body up to this size is read in less than a millisecond by its outline."""


class Outline(NamedTuple):
    """Where the arrays of a body with this outline are, and how many bytes of numbers they hold."""

    field: str
    named: bool
    rows: int
    key: tuple[tuple[str, tuple[int, ...]], ...]
    sizes: tuple[int, ...]
    size: int


class Invocations:
    """Reads bodies for one model; keeps the outlines it has seen."""

    def __init__(self, spec: Spec, max_rows: int, taking: Taking = NUMBERS) -> None:
        self.spec = spec
        self.taking = taking
        self.max_rows = max_rows
        self.names = [tensor.name for tensor in spec.inputs]
        self.sources = [tensor.wire for tensor in spec.inputs]
        self.limits = limits_of(spec, max_rows)
        self.outlines: dict[bytes, Outline] = {}
        self.parser = simdjson.Parser()
        self.quick = all(tensor.wire in SOURCE and _quick(tensor) for tensor in spec.inputs)

    def read(self, body: bytes) -> RequestRows:
        """The rows of a JSON body, however long that takes; Problem 400 or 422 says what is wrong with it."""
        return self.at_once(body) or self.carefully(body)

    def at_once(self, body: bytes) -> RequestRows | None:
        """The rows of a body that takes less than a millisecond to read; None for another."""
        if self.quick and len(body) <= QUICK:
            outline = self.outlines.get(body.translate(None, NUMBER))
            rows = self._quickly(body, outline) if outline is not None else None
            if rows is not None:
                return rows
        return self.carefully(body) if self.taking.prompt and soon_read(body) else None

    def _quickly(self, body: bytes, outline: Outline) -> RequestRows | None:
        """The rows of a body with an outline seen before; None sends it the careful way, which can say what is wrong."""
        field, named, count, key, sizes, size = outline
        names, sources = self.names, self.sources
        try:
            document: Any = self.parser.parse(body)
            values = document[field]
            if len(sizes) == 1:
                data = (values[names[0]] if named else values).as_buffer(of_type=sources[0])
                return RequestRows(count, key, (data,), size) if data.size == sizes[0] else None
            buffers = [
                values[name].as_buffer(of_type=source) for name, source in zip(names, sources, strict=True)
            ]
        except (ValueError, TypeError, KeyError, RuntimeError):
            return None
        fits = sizes == tuple([data.size for data in buffers])
        return RequestRows(count, key, tuple(buffers), size) if fits else None

    def carefully(self, body: bytes) -> RequestRows:
        """The rows of any body; from any thread."""
        document = load(body, self.limits)
        if isinstance(document, dict):
            _drop_params(document)
        if not isinstance(document, dict) or len(document) != 1 or next(iter(document)) not in FORMATS:
            got = sorted(document) if isinstance(document, dict) else type(document).__name__
            raise unacceptable(
                f"the body must be an object with exactly one of {', '.join(FORMATS)}; it has {shown(got)}"
            )
        field, value = next(iter(document.items()))
        columns = self._columns(field, value)
        for name in columns:
            self.spec.input(name)
        flat = field.startswith("dataframe")
        pairs = zip(self.spec.inputs, self.spec.in_order(columns), strict=True)
        rows = self.taking.rows_of(
            self.spec, [exact(tensor, data, flat) for tensor, data in pairs], self.max_rows
        )
        if self.quick and field in ("inputs", "instances"):
            self._remember(body, field, value, rows)
        return rows

    def wrapped(self, kind: str, body: bytes) -> bytes:
        """A body that is one value as it is, of one of the content types in `taking.bodies`, as JSON has it."""
        try:
            value = body.decode() if kind.startswith("text/") else base64.b64encode(body).decode()
            return orjson.dumps({"inputs": {self.taking.bodies[kind]: [value]}})
        except UnicodeDecodeError:
            raise malformed("the body is not text in UTF-8") from None

    def _remember(self, body: bytes, field: str, value: Any, rows: RequestRows) -> None:
        if len(body) > QUICK:
            return
        outline, named = body.translate(None, NUMBER), isinstance(value, dict)
        ordered = list(value) == self.names if named else dict not in set(map(type, value[:1]))
        if not ordered or len(outline) > MAX_OUTLINE:
            return
        if len(self.outlines) >= MAX_OUTLINES:
            self.outlines.pop(next(iter(self.outlines)))
        sizes = tuple(memoryview(data).nbytes for data in rows.buffers)
        self.outlines[outline] = Outline(field, named, rows.length, rows.key, sizes, rows.size)

    def _columns(self, field: str, value: Any) -> dict[str, Any]:
        if field == "dataframe_split":
            return _split(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return _records(field, value)
        if field != "dataframe_records":
            if isinstance(value, dict):
                return value
            if isinstance(value, list | NumberText) and len(self.names) == 1:
                return {self.names[0]: value}
        raise unacceptable(f"{field!r} must carry the inputs {', '.join(map(repr, self.names))} by name")


def _drop_params(document: dict[str, Any]) -> None:
    """`params`, which MLflow's client may send: its own server, too, leaves out of account what a model does not declare."""
    if not isinstance(document.pop("params", None), dict | None):
        raise unacceptable("'params' must be an object")


def _quick(tensor: Tensor) -> bool:
    """Narrow integers need a range check, which only the careful way makes."""
    return tensor.dtype.kind == "f" or tensor.dtype == np.int64


def _split(value: Any) -> dict[str, Any]:
    fields = value.keys() if isinstance(value, dict) else set()
    if not {"columns", "data"} <= fields or fields - {"columns", "data", "index"}:
        raise unacceptable("'dataframe_split' must be an object with 'columns', 'data' and perhaps 'index'")
    names, data, index = (
        part.lists() if isinstance(part, NumberText) else part
        for part in (value["columns"], value["data"], value.get("index"))
    )
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) != len(names)
    ):
        raise unacceptable("'columns' must be a list of different names")
    _check_data(data, index if "index" in value else data, len(names))
    return {name: [row[at] for row in data] for at, name in enumerate(names)}


def _check_data(data: Any, index: Any, width: int) -> None:
    if (
        not isinstance(data, list)
        or not data
        or any(not isinstance(row, list) or len(row) != width for row in data)
    ):
        raise unacceptable(f"'data' must be a list of rows of {width} values")
    if not isinstance(index, list) or len(index) != len(data):
        raise unacceptable("'index' must be a list as long as 'data'")


def _records(field: str, value: list[Any]) -> dict[str, Any]:
    keys = value[0].keys()
    if any(not isinstance(row, dict) or row.keys() != keys for row in value):
        raise unacceptable(f"the objects in {field!r} must all have the same names")
    return {name: [row[name] for row in value] for name in keys}


def predictions(headings: Headings, outputs: Outputs, start: int, stop: int) -> tuple[Heading, bytes]:
    """The answer for rows start to stop, in the shape MLflow's scoring server gives a model with named tensors."""
    openings, arrays = outputs.spec.openings, outputs.arrays
    rows = arrays[0][start:stop]
    if rows.size <= PIECE:
        parts = [openings[0], orjson.dumps(rows, listed, orjson.OPT_SERIALIZE_NUMPY)]
    else:
        parts = [openings[0], *written(rows)]
    for at in range(1, len(arrays)):
        parts += (openings[at], *written(arrays[at][start:stop]))
    parts.append(b"}}")
    return headings.json, b"".join(parts)


def predictions_each(outputs: Outputs) -> list[bytes] | None:
    """The body of the same answer for each row alone; None where they are not written together."""
    (array, *more), levels = outputs.arrays, outputs.arrays[0].ndim
    rows = None if more else each_written(array)
    if rows is None:
        return None
    front, back = outputs.spec.openings[0] + b"[" * levels, b"]" * levels + b"}}"
    return [front + row + back for row in rows]
