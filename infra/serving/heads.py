"""Heads of requests, byte for byte: a connection that sends one again, as clients do, needs no parser to be understood.

What lies between two heads that are equal but for the digits of their Content-Length cannot be read in two ways,
so nothing can be smuggled past the checks that the first one passed.
"""

from infra.serving.keys import Keys
from infra.serving.service import Headers, Route

END = b"\r\n\r\n"
LENGTH = b"content-length"


class Head:
    """A head that was accepted, cut around the digits of its length."""

    __slots__ = ("after", "before", "fields", "generation", "route", "start")

    def __init__(self, before: bytes, after: bytes, route: Route, fields: Headers, generation: int) -> None:
        self.before = before
        self.after = after
        self.start = len(before)
        self.route = route
        self.fields = fields
        self.generation = generation

    def stands(self, keys: Keys) -> bool:
        """Whether what was checked would pass again: the keys are the same and a version is loaded."""
        return self.generation == keys.generation and self.route.slot.current is not None

    def body_of(self, data: bytes, most: int) -> tuple[int, int] | None:
        """Where the body starts and how long it is, when `data` begins with this head and the length is at most `most`."""
        start = self.start
        if not data.startswith(self.before):
            return None
        end = data.find(b"\r", start, start + 12)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        length = int(digits)
        return (end + len(self.after), length) if 0 < length <= most else None


def cut(data: bytes, head: int, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    """The first `head` bytes of what came in, without the digits of the length; None when they are not plainly one head.

    The parser says where the head ends. When the first blank line is there too, both saw the same head.
    """
    if data.find(END) + len(END) != head:
        return None
    name, value = next(pair for pair in headers if pair[0].lower() == LENGTH)
    line = b"\r\n%b: %b\r\n" % (name, value)
    at = data.find(line, 0, head)
    if at < 0:
        return None
    digits = at + len(line) - len(value) - 2
    return data[:digits], data[digits + len(value) : head]
