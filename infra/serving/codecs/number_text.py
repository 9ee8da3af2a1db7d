"""Arrays of numbers in a large body, read from its text piece by piece: no list of Python objects is ever made of them.

Brackets and commas alone say the shape: they are compared with those that an array of it has. The numbers are then read a
piece at a time with spaces for brackets, so that nothing runs together, and other threads get their turn between two pieces.
"""

import secrets
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import orjson
import simdjson

from infra.serving.wire.problems import malformed, shown, unacceptable
from infra.serving.wire.tensors import Array, Tensor

MAX_DEPTH = 32

LEAST = 256
"""A shorter array is left where it stands."""

PIECE = 64 * 1024

LONGEST = 2 * PIECE
"""Numbers and blanks between two commas; whoever sends more sends no numbers."""

WINDOW = 512 * 1024

BLANKS = b" \t\r\n"

FLAT = bytes.maketrans(b"[]", b"  ")

BUT_BRACKETS = bytes(set(range(256)) - set(b"[],"))

TYPES = {"d": ("d",), "i": ("i", "u"), "?": ()}

SOURCES = {"d": np.dtype("<f8"), "i": np.dtype("<i8"), "u": np.dtype("<u8")}


class NumberText:
    """An array in a body: where it stands, and how many lists are in one another."""

    __slots__ = ("body", "depth", "start", "stop")

    def __init__(self, body: bytes, start: int, stop: int) -> None:
        self.body = body
        self.start = start
        self.stop = stop
        head = body[start : min(stop, start + PIECE)].translate(None, BLANKS)
        self.depth = len(head) - len(head.lstrip(b"["))

    def __repr__(self) -> str:
        return shown(self.body[self.start : min(self.stop, self.start + 60)].decode("ascii", "replace"))

    def lists(self) -> Any:
        """As lists in lists, for what is looked at cell by cell."""
        try:
            return parsed(self.body[self.start : self.stop])
        except orjson.JSONDecodeError as error:
            raise malformed(f"the body is not JSON: {error.msg}") from None

    def shape(self, name: str) -> tuple[int, ...]:
        """The array's shape; Problem when its rows have different lengths, or its brackets do not match."""
        if self.depth > MAX_DEPTH:
            raise unacceptable(f"input {name!r} is nested deeper than {MAX_DEPTH} lists")
        outline = b"".join([piece.translate(None, BUT_BRACKETS) for piece in self._pieces()])
        whole, sizes = b"", []
        for level in range(self.depth):  # from the numbers outward
            start, unit = self.depth - 1 - level, len(whole) + 1  # a list, its parts each with a comma behind
            end = outline.find(b"]" * (level + 1), start)
            count = (end - start + level) // unit
            if end < 0 or count < 1:
                break
            sizes.append(count)
            whole = b"[%b]" % ((whole + b",") * count)[:-1]
        if whole != outline:
            raise unacceptable(f"input {name!r} is ragged: its rows have different lengths")
        return tuple(reversed(sizes))

    def array(self, tensor: Tensor) -> Array:
        """The array as a model's input takes it; Problem says what is wrong with it."""
        shape = self.shape(tensor.name)
        tensor.check(shape)
        flat = np.empty(prod(shape), "<f8" if tensor.wire == "d" else tensor.dtype)
        reader, at = simdjson.Parser(), 0
        for piece in self._pieces(b","):
            if len(piece) > LONGEST:
                raise malformed(f"input {tensor.name!r} has a value of {len(piece)} characters")
            numbers = self._numbers(reader, b"[%b]" % piece.translate(FLAT), tensor)
            if at + len(numbers) > len(flat):
                break
            flat[at : at + len(numbers)] = numbers
            at += len(numbers)
        if at != len(flat):
            raise unacceptable(f"input {tensor.name!r} has an empty list, or a comma with no value behind it")
        return flat.reshape(shape)

    def _numbers(self, reader: simdjson.Parser, text: bytes, tensor: Tensor) -> Array:
        for kind in TYPES[tensor.wire]:
            try:
                numbers = np.frombuffer(_buffer(reader, text, kind), SOURCES[kind])
            except (ValueError, TypeError, RuntimeError, OverflowError):
                continue
            return fitting(tensor, numbers) if tensor.wire == "i" else numbers
        try:
            values = parsed(text)
        except orjson.JSONDecodeError as error:
            raise malformed(f"the body is not JSON: {error.msg} in input {tensor.name!r}") from None
        if values and (tensor.wire != "?" or set(map(type, values)) != {bool}):
            raise wrong_kind(tensor)
        return np.array(values, "?")

    def _pieces(self, mark: bytes = b"") -> Iterator[bytes]:
        """The text in pieces; with a `mark`, cut where one stands, which is left out."""
        body, at = self.body, self.start
        while at < self.stop:
            end = min(at + PIECE, self.stop)
            if mark and end < self.stop:
                end = body.find(mark, end, self.stop)
                end = self.stop if end < 0 else end
            yield body[at:end]
            at = end + len(mark)


def _buffer(reader: simdjson.Parser, text: bytes, kind: str) -> Any:
    """The numbers of a flat list; the document ends here, for a reader has but one."""
    document: Any = reader.parse(text)
    return document.as_buffer(of_type=kind)


def parsed(text: bytes) -> Any:
    """What orjson makes of a text. It takes one with a blank behind its first character for a spacious one, and then finds
    no memory for it when it is dense after all ("failed to allocate memory" for 64 kB of `[ 7,7,7`)."""
    if text[1:2] and text[1:2] in BLANKS:
        text = text[:1] + text[1:].lstrip(BLANKS)
    return orjson.loads(text)


def wrong_kind(tensor: Tensor) -> Exception:
    kinds = {"d": "numbers", "i": "integers", "?": "true/false", "s": "text"}[tensor.wire]
    return unacceptable(f"input {tensor.name!r} must hold {kinds} only")


def fitting(tensor: Tensor, array: Array) -> Array:
    """Integers in the model's own type; Problem when one does not fit."""
    bounds = np.iinfo(tensor.dtype)
    if array.size and (int(array.min()) < bounds.min or int(array.max()) > bounds.max):
        raise outside(tensor)
    return array.astype(tensor.dtype, copy=False)


def outside(tensor: Tensor) -> Exception:
    return unacceptable(f"input {tensor.name!r} holds an integer outside {tensor.dtype.name}")


def counted(text: bytes, mark: bytes) -> int:
    """How often a mark stands in a text, counted a window at a time, so that other threads get their turn."""
    return sum(text.count(mark, at, at + WINDOW) for at in range(0, len(text), WINDOW))


def cut_out(body: bytes) -> tuple[bytes, dict[str, NumberText]]:
    """The body with a string in the place of each long array under a name, and the arrays by that string."""
    secret, arrays = secrets.token_hex(8), dict[str, NumberText]()
    parts, done = list[bytes](), 0
    if counted(body, b'"') * LEAST > len(body):
        return body, {}  # its stretches are short
    for start, stop in _between_marks(body):
        if stop - start < LEAST or not body[start : start + LEAST].lstrip(BLANKS).startswith(b":"):
            continue
        first, last = body.find(b"[", start, stop), body.rfind(b"]", start, stop) + 1
        if first < 0 or last - first < LEAST or body[start:first].translate(None, BLANKS) != b":":
            continue
        if body.count(b"[", first, last) != body.count(b"]", first, last):
            continue  # there is something else in it than numbers
        name = f"{secret}{len(arrays)}"
        arrays[name] = NumberText(body, first, last)
        parts += [body[done:first], b'"%b"' % name.encode()]
        done = last
    return b"".join([*parts, body[done:]]), arrays


def _between_marks(body: bytes) -> Iterator[tuple[int, int]]:
    """Stretches of the body outside of strings with no brace in them."""
    at, size = 0, len(body)
    ahead = dict.fromkeys((b'"', b"{", b"}"), -1)
    while at < size:
        for mark, place in ahead.items():
            if place < at:
                place = body.find(mark, at)
                ahead[mark] = size if place < 0 else place
        stop = min(ahead.values())
        yield at, stop
        at = stop + 1
        if stop == ahead[b'"']:
            at = _end_of_string(body, at)


def _end_of_string(body: bytes, at: int) -> int:
    """Behind the quote that ends a string; one before which an odd number of backslashes stands does not."""
    while (quote := body.find(b'"', at)) >= 0:
        before = quote - 1
        while before >= at and body[before] == 92:
            before -= 1
        if (quote - before) % 2:
            return quote + 1
        at = quote + 1
    return len(body)
