"""Numbers as nested lists, which is how JSON has tensors, and the array that they are."""

from math import prod
from typing import Any

import numpy as np

from infra.serving.wire.problems import unacceptable
from infra.serving.wire.tensors import Array, Tensor

SOURCE = {"d": "<f8", "i": "<i8"}

_KINDS = {"d": ("numbers",), "i": ("integers",), "?": ("true", "false")}


def exact(tensor: Tensor, value: Any, flat: bool = False) -> Array:
    """Nested lists as an array of the tensor's shape; `flat` also takes each row flattened, as data frames do."""
    try:
        array = np.array(value) if isinstance(value, list) else None
    except (ValueError, OverflowError):
        raise unacceptable(f"input {tensor.name!r} is ragged: its rows have different lengths") from None
    if array is None or array.size == 0:
        raise unacceptable(f"input {tensor.name!r} must be a list of at least one row")
    allowed = {"d": "fiu", "i": "iu", "?": "b"}[tensor.wire]
    if array.dtype.kind not in allowed or (tensor.wire != "?" and _has_booleans(value)):
        raise unacceptable(f"input {tensor.name!r} must hold {'/'.join(_KINDS[tensor.wire])} only")
    if flat and -1 not in tensor.tail and array.size == len(array) * prod(tensor.tail):
        array = array.reshape((len(array), *tensor.tail))
    tensor.check(array.shape)
    if tensor.wire == "i" and array.dtype != tensor.dtype:
        return narrowed(tensor, array)
    return array.astype(SOURCE.get(tensor.wire, "?"), copy=False)


def _has_booleans(value: Any) -> bool:
    if isinstance(value[0], list):
        return any(map(_has_booleans, value))
    return any(item is True or item is False for item in value)


def narrowed(tensor: Tensor, array: Array) -> Array:
    """Integers in the model's own type; Problem when one does not fit."""
    bounds = np.iinfo(tensor.dtype)
    if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
        raise unacceptable(f"input {tensor.name!r} holds an integer outside {tensor.dtype.name}")
    return array.astype(tensor.dtype)
