"""What a large body may hold for one model, counted in its text before anything is made of it."""

from math import prod
from typing import NamedTuple

from infra.serving.codecs.number_text import counted
from infra.serving.wire.problems import unacceptable
from infra.serving.wire.tensors import Spec

MOST_VALUES = 4 * 1024 * 1024
"""Numbers in one JSON body, whatever the model takes; more fit in binary tensors."""

MOST_LISTS = 1024 * 1024

MOST_STRINGS = 1024 * 1024
"""Of a model that takes text: quotes, commas and braces may be any number of its characters."""

SLACK = 4096
"""What is there beside rows: names, shapes, parameters."""


class Limits(NamedTuple):
    """How many values, strings and objects a body may have, and how many lists where these are not read as text."""

    values: int
    strings: int
    lists: int

    def check(self, body: bytes) -> None:
        """Problem when the body holds more than a request can; quotes and braces inside of strings count as well."""
        count = counted(body, b",")
        if count > self.values:
            raise unacceptable(
                f"the body has {count + 1} values and more than {self.values} are no request of this model: send fewer rows at once, or binary tensors"
            )
        count = counted(body, b'"') // 2 + counted(body, b"{") + counted(body, b"}")
        if count > self.strings:
            raise unacceptable(
                f"the body has {count} strings and braces and more than {self.strings} are no request of this model: send fewer rows at once"
            )

    def check_lists(self, text: bytes) -> None:
        count = counted(text, b"[")
        if count > self.lists:
            raise unacceptable(
                f"the body has {count} lists and more than {self.lists} are no request of this model: send fewer rows at once"
            )


def limits_of(spec: Spec, max_rows: int) -> Limits:
    """What `max_rows` rows of a model come to, in any of the forms that it takes them in."""
    values = lists = SLACK
    for tensor in spec.inputs:
        dynamic = -1 in tensor.tail
        values += MOST_VALUES if dynamic else max_rows * (prod(tensor.tail) + 2)
        within = sum(prod(tensor.tail[:level]) for level in range(len(tensor.tail)))
        lists += MOST_LISTS if dynamic else max_rows * (within + 1)
    strings = SLACK + max_rows * (len(spec.inputs) + 2)
    if any(tensor.wire == "s" for tensor in spec.inputs):
        values, strings = MOST_VALUES, MOST_STRINGS
    return Limits(min(values, MOST_VALUES), strings, min(lists, MOST_LISTS))
