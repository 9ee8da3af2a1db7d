"""The head of an accepted request, as a template: one that differs only in what nobody reads needs no parser.

The template is written from what the parser understood, so a head that matches can be understood in no other way: the
gaps end at the first carriage return and hold printable characters, or digits. Nothing slips past the checks by it.
"""

from collections.abc import Set

from infra.serving.http.service import Headers, Route
from infra.serving.wire.headings import JSON_LENGTH, Pairs
from infra.serving.wire.request_ids import LONGEST_ID, PRINTABLE, REQUEST_ID

LENGTH = b"content-length"

READ = frozenset(
    {
        *(b"host", b"content-type", b"authorization", b"x-api-key", JSON_LENGTH),
        *(b"connection", b"proxy-connection"),
    }
)
"""What a check, a codec or the parser reads of an accepted head; whoever comes to read more has to add it here."""

DIGITS = b"0123456789"

LONGEST = 256


class HeadTemplate:
    """A head with gaps for its length and for the headers in `free`; `fields` are those that are read, and `id` the request's own, of the last that matched."""

    __slots__ = (
        "digests",
        "fields",
        "free",
        "gaps",
        "id",
        "key",
        "last",
        "observers",
        "place",
        "route",
        "slot",
        "tail",
    )

    def __init__(
        self,
        url: bytes,
        headers: Pairs,
        free: Set[bytes],
        route: Route,
        fields: Headers,
        digests: tuple[bytes, ...],
    ) -> None:
        self.free = free
        self.route = route
        self.slot = route.slot
        self.observers = self.slot.observers  # others read another header, or none
        self.id = fields.get(REQUEST_ID, b"")
        lane = self.slot.lane
        self.key = b"" if lane is None else lane.header
        self.fields = {name: value for name, value in fields.items() if name in READ or name == self.key}
        self.digests = digests  # of the keys that the head was checked against
        # what stands before each, what may stand in it, and whether it is the id, or the key
        self.gaps: list[tuple[bytes, bytes, bool, bool]] = []
        text = b"POST %b HTTP/1.1\r\n" % url
        for name, value in headers:
            text += name + b": "
            lower = name.lower()
            allowed = DIGITS if lower == LENGTH else PRINTABLE if name in free else b""
            if allowed:
                self.gaps.append((text, allowed, lower == REQUEST_ID, lower == self.key))
                text, value = b"", b""
            text += value + b"\r\n"
        self.tail = text + b"\r\n"
        self.last = b"\0"  # a head that matched, as it came; none holds a zero byte
        self.place = (0, 0)

    def body_of(self, data: bytes) -> tuple[int, int] | None:
        """Where the body starts and how long it is, when `data` begins with such a head."""
        if data.startswith(self.last):
            return self.place
        at, length, id, key = 0, b"", self.id, None
        for text, allowed, is_id, is_key in self.gaps:
            start = at + len(text)
            at = data.find(b"\r", start, start + LONGEST)
            value = data[start:at]
            if at < 0 or not data.startswith(text, start - len(text)) or value.translate(None, allowed):
                return None
            if allowed is DIGITS:
                length = value
            if is_id:
                id = value.strip(b" ")
                if len(id) > LONGEST_ID:
                    return None
            if is_key:
                key = value.strip(b" ")
        if not length or not data.startswith(self.tail, at):
            return None
        self.id = id
        if key is not None:
            self.fields[self.key] = key
        at += len(self.tail)
        self.last, self.place = data[:at], (at, int(length))
        return self.place
