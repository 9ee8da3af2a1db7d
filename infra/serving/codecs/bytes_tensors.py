"""The protocol's BYTES: text, or whatever a codec takes, in JSON and each value behind its length."""

import base64
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from infra.serving.codecs.json_arrays import exact
from infra.serving.wire.problems import shown, unacceptable
from infra.serving.wire.tensors import Array, Tensor

LENGTH = 4
"""Bytes of the length that stands before each value."""


def in_json(tensor: Tensor, shape: list[int], data: Any, content_type: Any) -> Array:
    """Text, or what is in base64, for JSON has no bytes; flat, or in lists of the shape."""
    if content_type not in (None, "str", "base64"):
        raise unacceptable(
            f"the content_type of input {tensor.name!r} is {shown(content_type)}: it may be 'str' or 'base64'"
        )
    flat = isinstance(data, list) and list not in set(map(type, data[:1]))
    array = exact(Tensor(tensor.name, tensor.dtype, (-1,)) if flat else tensor, data)
    if array.size != prod(shape) or not (flat or list(array.shape) == shape):
        raise unacceptable(
            f"input {tensor.name!r} has {array.size} values, its shape {shape} needs {prod(shape)}"
        )
    if content_type == "base64":
        try:
            array[...] = _objects([base64.b64decode(each, validate=True) for each in array.flat], array.shape)
        except ValueError:
            raise unacceptable(f"input {tensor.name!r} holds a value that is no base64") from None
    return array.reshape(shape)


def unpacked(tensor: Tensor, shape: list[int], size: Any, raw: memoryview) -> tuple[Array, memoryview]:
    """Values each behind its length, four bytes little-endian."""
    if type(size) is not int or not 0 <= size <= len(raw):
        raise unacceptable(f"binary_data_size of input {tensor.name!r} is no size, or the body is too short")
    values, at = list[bytes](), 0
    while at < size and len(values) < prod(shape):
        start = at + LENGTH
        at = start + int.from_bytes(raw[at:start], "little")
        values.append(raw[start:at].tobytes())
    if at != size or len(values) != prod(shape):
        raise unacceptable(
            f"binary_data_size of input {tensor.name!r} does not match its shape and its values"
        )
    return _objects(values, shape), raw[size:]


def packed(array: Array) -> bytes:
    """Text as the protocol's BYTES: each value behind its length."""
    values = [value.encode() for value in array.flat]
    return b"".join([part for value in values for part in (len(value).to_bytes(LENGTH, "little"), value)])


def _objects(values: list[Any], shape: Sequence[int]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)
