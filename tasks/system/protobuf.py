"""Protobuf messages, walked: what an ONNX file holds may stand anywhere in it."""

from collections.abc import Iterator
from typing import Any


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all that it holds, wherever: a tensor may hide in an attribute of a function's node."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else (value,):
                yield from messages(inner)
