"""Rows that are not numbers alone: text, pictures and words on their way to a model's own tensors.

They wait as they came, are made into tensors in the batch's thread, all of a batch at once, and are padded together: what
their tensors have in common is the codec, whatever their lengths. Rows of numbers never come here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from infra.serving.wire.problems import Problem, Unfit, unacceptable
from infra.serving.wire.tensors import Array, RequestRows, Spec, Tensor, narrow, rows_of
from tasks.codecs.decoding import Decoder, Reader, Unreadable

MOST_DECODED = 512 * 1024 * 1024
"""Bytes that the pictures of one request come to, one after another: about two seconds of a batch's thread."""


class Taking(NamedTuple):
    """How what was read of a body becomes rows: `prompt`, when it takes microseconds; `bodies`, which bodies are one value."""

    rows_of: Callable[[Spec, Sequence[Array], int], RequestRows] = rows_of
    prompt: bool = True
    bodies: Mapping[str, str] = {}


NUMBERS = Taking()


@dataclass(frozen=True)
class Values:
    """The rows of one model whose requests have values in them; `decoder` makes tensors of some, others are the graph's own text."""

    asked: Spec
    graph: Spec
    decoder: Decoder | None
    readers: Mapping[str, Reader] = field(default_factory=dict)

    @property
    def taking(self) -> Taking:
        readers = [*self.readers.values()]
        alone = len(self.asked.inputs) == len(readers) == 1
        bodies = {kind: self.asked.inputs[0].name for kind in (readers[0].bodies if alone else ())}
        return Taking(self.rows_of, all(reader.prompt for reader in readers), bodies)

    def rows_of(self, spec: Spec, arrays: Sequence[Array], most: int) -> RequestRows:
        """Values that are taken, and numbers as they are; what they come to as tensors counts as their size. Else Problem."""
        rows = rows_of(spec, arrays, most)
        buffers, size = list(rows.buffers), rows.size
        for at, tensor in enumerate(spec.inputs):
            if (reader := self.readers.get(tensor.name)) is not None:
                buffers[at], more = _taken(reader, buffers[at])
                size += more
        return RequestRows(rows.length, rows.key, tuple(buffers), size)

    def assemble(self, group: Sequence[RequestRows]) -> dict[str, Array]:
        """The tensors of rows of one key. Unfit names those rows whose values turn out to be no such thing."""
        given = self._joined(group)
        taken = {name: given.pop(name) for name in self.readers}
        if self.decoder is None:
            return given
        try:
            return {**self.decoder.read(taken), **given}
        except Unreadable as error:
            raise Unfit(error.said, error.of) from None

    def noted(self, group: Sequence[RequestRows]) -> dict[str, Array]:
        """What the traffic record has of such rows: no text and no picture, but what is watched of them."""
        given = self._joined(group)
        taken = {name: given.pop(name) for name in self.readers}
        numbers = {name: array for name, array in given.items() if array.dtype.kind != "O"}
        return numbers if self.decoder is None else {**self.decoder.summaries(taken), **numbers}

    def _joined(self, group: Sequence[RequestRows]) -> dict[str, Any]:
        joined: dict[str, Any] = {}
        for at, (tensor, (source, tail)) in enumerate(zip(self.asked.inputs, group[0].key, strict=True)):
            parts = [rows.buffers[at] for rows in group]
            if tensor.name in self.readers:
                joined[tensor.name] = [value for part in parts for value in part]
            elif tensor.wire == "s":
                joined[tensor.name] = texts([v for part in parts for v in part]).reshape((-1, *tail))
            else:
                array = np.frombuffer(b"".join(parts), source).reshape((-1, *tail))
                joined[tensor.name] = narrow(array, tensor.dtype)
        return joined


def values_of(graph: Spec, decoder: Decoder | None) -> Values | None:
    """What is asked of a model whose graph has these tensors; None when that is numbers alone.

    Raises ValueError for a codec that gives what the graph does not take.
    """
    readers = {} if decoder is None else decoder.readers
    gives = [tensor for reader in readers.values() for tensor in reader.gives]
    if lost := [tensor for tensor in gives if tensor not in graph.by_name]:
        raise ValueError(f"its codec gives {lost[0]!r}, which the graph does not take")
    coded = [Tensor(name, np.dtype(object), (-1,)) for name in readers]
    rest = [tensor for tensor in graph.inputs if tensor.name not in gives]
    if not coded and all(tensor.wire != "s" for tensor in rest):
        return None
    return Values(Spec((*coded, *rest), graph.outputs), graph, decoder, readers)


def texts(values: Sequence[Any]) -> Array:
    """Values of text as a graph takes them, [n]; those that came as bytes are UTF-8. Problem for those that are none."""
    try:
        read = [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError:
        raise unacceptable("a value is no Unicode text") from None
    array = np.empty(len(read), object)
    array[:] = read
    return array


def _taken(reader: Reader, values: Sequence[Any]) -> tuple[list[Any], int]:
    """Values made ready, and the bytes that they come to. They are read one after another: of what passes, the most counts."""
    try:
        taken = [reader.take(value, at) for at, value in enumerate(values)]
    except Unreadable as error:
        raise unacceptable(str(error)) from None
    decoded = sum(each.passing for each in taken)
    if decoded > MOST_DECODED:
        raise Problem(
            413,
            "too_large",
            f"the pictures of one request come to {decoded} bytes when they are decoded, at most {MOST_DECODED} are taken: send fewer at once",
        )
    size = sum(each.size for each in taken) + max(each.passing for each in taken)
    return [each.value for each in taken], size
