"""The tensors a model takes and gives: names, types, shapes, and rows on their way to it as plain bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from infra.serving.wire.problems import shown, unacceptable

Array = npt.NDArray[Any]

V2_TYPES = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
    **{f"{sign.lower()}int{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "object": "BYTES",
}

ONNX_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(string)": "object"} | {
    f"tensor({name})": name for name in V2_TYPES
}

FEW = 4096


@dataclass(frozen=True)
class Tensor:
    """One input or output; axis 0 is the batch, -1 a length that the request decides."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @cached_property
    def tail(self) -> tuple[int, ...]:
        return self.shape[1:]

    @cached_property
    def wire(self) -> str:
        """What JSON's value of this tensor is read as: 'd' doubles, 'i' 64-bit integers, '?' booleans, 's' text."""
        return {"f": "d", "b": "?", "O": "s"}.get(self.dtype.kind, "i")

    @property
    def word(self) -> str:
        """The type as MLflow's signature has it."""
        return "str" if self.wire == "s" else self.dtype.name

    @cached_property
    def datatype(self) -> str:
        return V2_TYPES[self.dtype.name]

    def check(self, shape: tuple[int, ...]) -> None:
        """Problem unless `shape` is one this tensor can have."""
        fits = len(shape) == len(self.shape) and all(
            want in (-1, got) and got > 0 for want, got in zip(self.shape, shape, strict=True)
        )
        if not fits:
            raise unacceptable(
                f"input {self.name!r} has shape {list(shape)}, the model takes {list(self.shape)}"
            )


@dataclass(frozen=True)
class Spec:
    """All inputs and outputs of a model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.inputs}

    def input(self, name: Any) -> Tensor:
        """The input that a client names; Problem when there is none."""
        if not isinstance(name, str) or name not in self.by_name:
            names = ", ".join(map(repr, self.by_name))
            raise unacceptable(f"the model has no input {shown(name)}; it takes {names}")
        return self.by_name[name]

    def in_order(self, given: dict[str, Any]) -> list[Any]:
        """What a client gave for each input; Problem when one is missing."""
        for name in self.by_name:
            if name not in given:
                raise unacceptable(f"input {name!r} is missing")
        return [given[name] for name in self.by_name]

    @cached_property
    def openings(self) -> tuple[bytes, ...]:
        """What stands before each output in an answer to /invocations."""
        names = [orjson.dumps(tensor.name) + b":" for tensor in self.outputs]
        return (b'{"predictions":{' + names[0], *[b"," + name for name in names[1:]])

    def difference(self, other: "Spec") -> str | None:
        """In words, why a client of the other could not be served by this one."""
        for side in ("inputs", "outputs"):
            ours, theirs = getattr(self, side), getattr(other, side)
            if ours != theirs:
                return f"{side} are {_described(ours)}, they were {_described(theirs)}"
        return None


def _described(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{tensor.name} {tensor.word}{list(tensor.shape)}" for tensor in tensors)


class _Node(Protocol):
    name: str
    type: str
    shape: list[int | str | None]


def tensor_of(node: _Node) -> Tensor:
    """A graph's input or output as ONNX Runtime describes it; ValueError for types that cannot be sent."""
    if node.type not in ONNX_TYPES:
        raise ValueError(f"tensor {node.name!r} is {node.type}, which this server cannot take or give")
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in node.shape)
    return Tensor(node.name, np.dtype(ONNX_TYPES[node.type]), shape)


class RequestRows(NamedTuple):
    """The rows of one request: one buffer an input, in the model's order, of a type and row shape that `key` names.

    Of text the buffer is a list of values, as they came.
    """

    length: int
    key: tuple[tuple[str, tuple[int, ...]], ...]
    buffers: tuple[Any, ...]
    size: int
    """Bytes of all buffers."""


class Outputs(NamedTuple):
    """What a model gave for a batch, one array an output; axis 0 is the row."""

    spec: Spec
    arrays: Sequence[Array]


def rows_of(spec: Spec, arrays: Sequence[Array], most: int) -> RequestRows:
    """Checked arrays, one an input, as rows; Problem when they are not as many each, or more than `most`."""
    count = int(arrays[0].shape[0])
    if count > most:
        raise unacceptable(f"{count} rows are more than the {most} this server takes at once")
    for tensor, array in zip(spec.inputs, arrays, strict=True):
        if array.shape[0] != count:
            raise unacceptable(
                f"input {tensor.name!r} has {array.shape[0]} rows, {spec.inputs[0].name!r} has {count}"
            )
    key = tuple((array.dtype.str, tuple(array.shape[1:])) for array in arrays)
    buffers = tuple(map(_buffer, arrays))
    return RequestRows(count, key, buffers, sum(map(_size, buffers)))


def _buffer(array: Array) -> Any:
    if array.dtype.kind == "O":
        return array.reshape(-1).tolist()
    return np.ascontiguousarray(array).data.cast("B")


def _size(buffer: Any) -> int:
    return sum(map(len, buffer)) if isinstance(buffer, list) else int(buffer.nbytes)


def assemble(spec: Spec, group: Sequence[RequestRows]) -> dict[str, Array]:
    """Rows of one key, one after another, as what ONNX Runtime takes. An overflowing number becomes infinite."""
    count = sum([rows.length for rows in group])
    feeds = {}
    for index, (tensor, (source, tail)) in enumerate(zip(spec.inputs, group[0].key, strict=True)):
        data = (
            group[0].buffers[index] if len(group) == 1 else b"".join([rows.buffers[index] for rows in group])
        )
        array = np.frombuffer(data, source, count * prod(tail)).reshape((count, *tail))
        feeds[tensor.name] = array if array.dtype == tensor.dtype else narrow(array, tensor.dtype)
    return feeds


def narrow(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def cut(rows: RequestRows, start: int, stop: int) -> RequestRows:
    """Some of the rows."""
    buffers, size = [], 0
    for buffer, (source, tail) in zip(rows.buffers, rows.key, strict=True):
        values = isinstance(buffer, list)
        width = prod(tail) if values else np.dtype(source).itemsize * prod(tail)
        part = (buffer if values else memoryview(buffer).cast("B"))[start * width : stop * width]
        size += _size(part)
        buffers.append(part)
    return RequestRows(stop - start, rows.key, tuple(buffers), size)


def listed(array: Array) -> Any:
    """What orjson asks for that does not know an array of text."""
    return array.tolist()


def all_finite(arrays: Sequence[Array]) -> bool:
    """Whether no number is NaN or infinite. A sum tells in one pass; only when it is not finite, each is looked at."""
    for array in arrays:
        if array.dtype.kind == "f" and not isfinite(_sum(array)) and not np.isfinite(array).all():
            return False
    return True


def _sum(array: Array) -> Any:
    """Of all numbers, or of their squares, which is a fifth of the work for few; of many, BLAS may take several threads."""
    if array.size <= FEW:
        return np.vdot(array, array)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.add.reduce(array, None)
