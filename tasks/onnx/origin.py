"""What exporters and quantisers note in a graph about where it was made: paths, lines of source. It is not shipped."""

from typing import Any

from tasks.system.protobuf import messages

NOTES = ("doc_string", "metadata_props")


def remove_origin(proto: Any) -> None:
    """Leave of a model what it computes, and not who traced it where: the same training gives the same bytes."""
    for message in messages(proto):
        for name in NOTES:
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
