"""Heads of requests, byte for byte: a connection that sends one again, as clients do, needs no parser to be understood.

What lies between two heads that are equal but for the digits of their Content-Length cannot be read in two ways,
so nothing can be smuggled past the checks that the first one passed.
"""

from infra.serving.http.service import Headers, Route

END = b"\r\n\r\n"

LENGTH = b"content-length"


class Head:
    """A head that was accepted, cut around the digits of its length."""

    __slots__ = ("after", "before", "fields", "found", "generation", "last", "route", "start")

    def __init__(self, before: bytes, after: bytes, route: Route, fields: Headers, generation: int) -> None:
        self.before = before
        self.after = after
        self.start = len(before)
        self.route = route
        self.fields = fields
        self.generation = generation  # of the keys that it was checked against
        self.last = b"\0"  # how it came last, digits and all; a head holds no zero byte
        self.found: tuple[int, int] | None = None

    def body_of(self, data: bytes, most: int) -> tuple[int, int] | None:
        """Where the body starts and how long it is, when `data` begins with this head and the length is at most `most`."""
        if data.startswith(self.last):
            return self.found
        start = self.start
        if not data.startswith(self.before):
            return None
        end = data.find(b"\r", start, start + 12)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        length, body = int(digits), end + len(self.after)
        if not 0 < length <= most:
            return None
        self.last, self.found = data[:body], (body, length)
        return self.found


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
