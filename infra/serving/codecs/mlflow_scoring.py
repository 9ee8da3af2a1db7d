"""MLflow's scoring protocol: `inputs`, `instances`, `dataframe_split` and `dataframe_records` in, `predictions` out.

A body whose outline (the text without its digits) was accepted before is read by simdjson alone, and so is a row of
numbers between the same ends as the last; any other is read and checked piece by piece. All give the same rows: a test
holds them equal.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np
import simdjson

from infra.serving.codecs.json_arrays import SOURCE, exact
from infra.serving.codecs.outputs import Outputs
from infra.serving.codecs.strict_json import load
from infra.serving.wire.headings import Heading, Headings
from infra.serving.wire.problems import shown, unacceptable
from infra.serving.wire.tensors import RequestRows, Spec, Tensor, rows_of

FORMATS = ("inputs", "instances", "dataframe_split", "dataframe_records")

NUMBER = b"0123456789.+-eE \t\r\n"

MAX_OUTLINES = 256

MAX_OUTLINE = 64 * 1024


class Outline(NamedTuple):
    """Where the arrays of a known body are and how many numbers they hold."""

    field: str
    named: bool
    rows: int
    key: tuple[tuple[str, tuple[int, ...]], ...]
    sizes: tuple[int, ...]


class Ends(NamedTuple):
    """What stands around the numbers of a body that holds one row in one pair of innermost brackets.

    Between these ends and without another bracket nothing but the elements of that one list can stand, in valid JSON.
    """

    before: bytes
    after: bytes
    outline: Outline

    def hold(self, body: bytes) -> bool:
        return (
            body.startswith(self.before)
            and body.endswith(self.after)
            and body.find(b"[", len(self.before)) < 0
        )


class Invocations:
    """Reads bodies for one model; keeps the outlines it has seen."""

    def __init__(self, spec: Spec, max_rows: int) -> None:
        self.spec = spec
        self.max_rows = max_rows
        self.names = [tensor.name for tensor in spec.inputs]
        self.outlines: dict[bytes, Outline] = {}
        self.ends: Ends | None = None
        self.parser = simdjson.Parser()
        self.quick = all(tensor.wire in SOURCE and _quick(tensor) for tensor in spec.inputs)

    def read(self, body: bytes) -> RequestRows:
        """The rows of a JSON body; Problem 400 or 422 says what is wrong with it."""
        if self.quick:
            ends = self.ends
            if ends is not None and ends.hold(body):
                outline: Outline | None = ends.outline
            else:
                outline = self.outlines.get(body.translate(None, NUMBER))
            if outline is not None:
                rows = self._quickly(body, outline)
                if rows is not None:
                    return rows
        return self._carefully(body)

    def _quickly(self, body: bytes, outline: Outline) -> RequestRows | None:
        """The rows of a body whose outline is known; None sends it the careful way, which knows what is wrong with it."""
        tensors = self.spec.inputs
        try:
            document: Any = self.parser.parse(body)
            found = document[outline.field]
            if len(tensors) == 1:
                tensor = tensors[0]
                data = (found[tensor.name] if outline.named else found).as_buffer(of_type=tensor.wire)
                return (
                    RequestRows(outline.rows, outline.key, (data,))
                    if memoryview(data).nbytes == outline.sizes[0]
                    else None
                )
            buffers = tuple([found[tensor.name].as_buffer(of_type=tensor.wire) for tensor in tensors])
        except (ValueError, TypeError, KeyError, RuntimeError):
            return None
        fits = all(
            [memoryview(data).nbytes == size for data, size in zip(buffers, outline.sizes, strict=True)]
        )
        return RequestRows(outline.rows, outline.key, buffers) if fits else None

    def _carefully(self, body: bytes) -> RequestRows:
        document = load(body)
        if not isinstance(document, dict) or len(document) != 1 or next(iter(document)) not in FORMATS:
            got = sorted(document) if isinstance(document, dict) else type(document).__name__
            raise unacceptable(
                f"the body must be an object with exactly one of {', '.join(FORMATS)}; it has {shown(got)}"
            )
        field, value = next(iter(document.items()))
        columns = self._columns(field, value)
        arrays = [
            exact(tensor, columns[tensor.name], flat=field.startswith("dataframe"))
            for tensor in self.spec.inputs
        ]
        if arrays[0].shape[0] > self.max_rows:
            raise unacceptable(
                f"{arrays[0].shape[0]} rows are more than the {self.max_rows} this server takes at once"
            )
        rows = rows_of(self.spec, arrays)
        if field in ("inputs", "instances"):
            self._remember(body, field, value, rows)
        return rows

    def _remember(self, body: bytes, field: str, value: Any, rows: RequestRows) -> None:
        outline = body.translate(None, NUMBER)
        typed = all(
            source == SOURCE.get(tensor.wire)
            for tensor, (source, _) in zip(self.spec.inputs, rows.key, strict=True)
        )
        listed = isinstance(value, list) and isinstance(value[0], dict)
        ordered = not isinstance(value, dict) or list(value) == self.names
        if not self.quick or not typed or listed or not ordered or len(outline) > MAX_OUTLINE:
            return
        if len(self.outlines) >= MAX_OUTLINES:
            self.outlines.pop(next(iter(self.outlines)))
        sizes = tuple(rows.length * prod(tail) * 8 for _, tail in rows.key)
        known = self.outlines[outline] = Outline(field, isinstance(value, dict), rows.length, rows.key, sizes)
        first, last = body.rfind(b"[") + 1, body.find(b"]")
        if rows.length == 1 and first <= last and -1 not in self.spec.inputs[0].tail:
            self.ends = Ends(body[:first], body[last:], known)

    def _columns(self, field: str, value: Any) -> dict[str, Any]:
        if field == "dataframe_split":
            columns = _split(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            columns = _records(field, value)
        elif isinstance(value, dict) and field != "dataframe_records":
            columns = value
        elif isinstance(value, list) and len(self.names) == 1 and field != "dataframe_records":
            columns = {self.names[0]: value}
        else:
            raise unacceptable(f"{field!r} must carry the inputs {', '.join(map(repr, self.names))} by name")
        for name in columns:
            if name not in self.spec.by_name:
                raise unacceptable(
                    f"the model has no input {shown(name)}; it takes {', '.join(map(repr, self.names))}"
                )
        for name in self.names:
            if name not in columns:
                raise unacceptable(f"input {name!r} is missing")
        return columns


def _quick(tensor: Tensor) -> bool:
    """Narrow integers need a range check, which only the careful way makes."""
    return tensor.dtype.kind == "f" or tensor.dtype == np.int64


def _split(value: Any) -> dict[str, Any]:
    if (
        not isinstance(value, dict)
        or "data" not in value
        or "columns" not in value
        or value.keys() - {"columns", "data", "index"}
    ):
        raise unacceptable("'dataframe_split' must be an object with 'columns', 'data' and perhaps 'index'")
    names, data = value["columns"], value["data"]
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) != len(names)
    ):
        raise unacceptable("'columns' must be a list of different names")
    if (
        not isinstance(data, list)
        or not data
        or any(not isinstance(row, list) or len(row) != len(names) for row in data)
    ):
        raise unacceptable(f"'data' must be a list of rows of {len(names)} values")
    if "index" in value and (not isinstance(value["index"], list) or len(value["index"]) != len(data)):
        raise unacceptable("'index' must be a list as long as 'data'")
    return {name: [row[at] for row in data] for at, name in enumerate(names)}


def _records(field: str, value: list[Any]) -> dict[str, Any]:
    keys = value[0].keys()
    if any(not isinstance(row, dict) or row.keys() != keys for row in value):
        raise unacceptable(f"the objects in {field!r} must all have the same names")
    return {name: [row[name] for row in value] for name in keys}


def predictions(headings: Headings, outputs: Outputs, start: int, stop: int) -> tuple[Heading, bytes]:
    """The answer for rows start to stop, in the shape MLflow's scoring server gives a model with named tensors."""
    if stop - start == 1:
        return headings.json, (outputs.single or outputs.answer_each())[start]
    parts = [
        part
        for at, (left, right) in enumerate(outputs.spec.frames)
        for part in (left, outputs.json(at, start, stop), right)
    ]
    return headings.json, b"".join(parts)
