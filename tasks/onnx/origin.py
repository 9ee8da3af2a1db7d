"""What exporters and quantisers note in a graph about where it was made: paths, lines of source. It is not shipped."""

from collections.abc import Iterator
from typing import Any

NOTES = ("doc_string", "metadata_props")


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all that it holds, wherever: a tensor may hide in an attribute of a function's node."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else (value,):
                yield from messages(inner)


def remove_origin(proto: Any) -> None:
    """Leave of a model what it computes, and not who traced it where: the same training gives the same bytes."""
    for message in messages(proto):
        for name in NOTES:
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
