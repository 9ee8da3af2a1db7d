"""Numbers as nested lists, which is how JSON has tensors, and the array that they are."""

from math import prod
from typing import Any

import numpy as np
import orjson

from infra.serving.codecs.number_text import NumberText, fitting, outside, wrong_kind
from infra.serving.wire.problems import unacceptable
from infra.serving.wire.tensors import Array, Tensor, listed

PIECE = 16 * 1024
"""Numbers that are written in about a millisecond: no other thread gets its turn before."""

SOURCE = {"d": "<f8", "i": "<i8"}

_TYPES: dict[str, set[type]] = {"d": {int, float}, "i": {int}, "?": {bool}}


def exact(tensor: Tensor, value: Any, flat: bool = False) -> Array:
    """Nested lists as an array of the tensor's shape; `flat` also takes each row flattened, as data frames do."""
    if tensor.wire == "s":
        return _texts(tensor, value)
    if isinstance(value, NumberText):
        return value.array(tensor)
    array = _array(tensor, value)
    if flat and -1 not in tensor.tail and array.size == len(array) * prod(tensor.tail):
        array = array.reshape((len(array), *tensor.tail))
    tensor.check(array.shape)
    if tensor.wire == "i" and array.dtype != tensor.dtype:
        return fitting(tensor, array)
    return array.astype(SOURCE.get(tensor.wire, "?"), copy=False)


def _texts(tensor: Tensor, value: Any) -> Array:
    """Text in nested lists, as an array of objects."""
    shape, values = [], value
    for _ in tensor.shape:
        if not isinstance(values, list) or not values:
            raise _empty(tensor) if isinstance(values, list) else wrong_kind(tensor)
        shape.append(len(values))
        if len(shape) < len(tensor.shape):
            if any(not isinstance(row, list) or len(row) != len(values[0]) for row in values):
                raise _ragged(tensor)
            values = [item for row in values for item in row]
    if set(map(type, values)) != {str}:
        raise wrong_kind(tensor)
    sizes = [size // before for size, before in zip(shape, [1, *shape], strict=False)]
    tensor.check(tuple(sizes))
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(sizes)


def _array(tensor: Tensor, value: Any) -> Array:
    """Lists that hold what the tensor takes, and nothing else, in whatever shape they have."""
    if not isinstance(value, list) or not value:
        raise _empty(tensor)
    _check_types(tensor, value, 2 * len(tensor.shape) + 2)
    try:
        # what numpy would make of integers of both kinds are doubles
        array = np.array(value, tensor.dtype if tensor.dtype == np.uint64 else None)
    except OverflowError:
        raise outside(tensor) from None
    except ValueError:
        raise _ragged(tensor) from None
    if array.size == 0:
        raise _empty(tensor)
    if tensor.wire == "i" and array.dtype.kind == "f":
        raise outside(tensor)
    return array


def _check_types(tensor: Tensor, value: list[Any], depth: int) -> None:
    """Look at every value's type before an array is made, which would give each the room that the longest text needs."""
    types = set(map(type, value))
    if types <= _TYPES[tensor.wire]:
        return
    if types != {list}:
        raise _ragged(tensor) if list in types else wrong_kind(tensor)
    if depth == 0:
        raise unacceptable(f"input {tensor.name!r} is nested too deep; the model takes {list(tensor.shape)}")
    for item in value:
        _check_types(tensor, item, depth - 1)


def _ragged(tensor: Tensor) -> Exception:
    return unacceptable(f"input {tensor.name!r} is ragged: its rows have different lengths")


def _empty(tensor: Tensor) -> Exception:
    return unacceptable(f"input {tensor.name!r} must be a list of at least one row")


def written(array: Array) -> list[bytes]:
    """An array as JSON, in parts that belong together; one of many numbers piece by piece."""
    if array.size <= PIECE:
        return [orjson.dumps(np.ascontiguousarray(array), listed, orjson.OPT_SERIALIZE_NUMPY)]
    if array.size > 2 * PIECE * len(array):  # long rows, each by itself
        inner = [written(row) for row in array]
    else:
        rows = max(1, PIECE * len(array) // array.size)
        inner = [
            [
                orjson.dumps(np.ascontiguousarray(array[at : at + rows]), listed, orjson.OPT_SERIALIZE_NUMPY)[
                    1:-1
                ]
            ]
            for at in range(0, len(array), rows)
        ]
    parts = [b"["]
    for piece in inner:
        parts += (*piece, b",")
    parts[-1] = b"]"
    return parts


def each_written(array: Array) -> list[bytes] | None:
    """The inside of each row, as it stands between the brackets around it; None where rows are not written together.

    All are written in one go, and parted where rows meet: nowhere else are so many brackets closed and opened.
    """
    if not 0 < array.size <= PIECE or array.dtype.kind == "O":  # text may hold any brackets
        return None
    inner = array.ndim - 1
    text = orjson.dumps(array, listed, orjson.OPT_SERIALIZE_NUMPY)
    return text[inner + 1 : -inner - 1].split(b"]" * inner + b"," + b"[" * inner)
