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
    """A head with gaps for its length and for the headers in `free`; `fields` are those that are read, of the last that matched."""

    __slots__ = ("digests", "fields", "free", "gaps", "lane", "last", "place", "route", "slot", "tail")

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
        self.lane = self.slot.lane  # another one reads another header, or none
        kept = {REQUEST_ID} if self.lane is None else {REQUEST_ID, self.lane.header}
        self.fields = {name: value for name, value in fields.items() if name in READ or name in kept}
        self.digests = digests  # of the keys that the head was checked against
        # what stands before each, what may stand in it, and the name of what is kept of it
        self.gaps: list[tuple[bytes, bytes, bytes | None]] = []
        text = b"POST %b HTTP/1.1\r\n" % url
        for name, value in headers:
            text += name + b": "
            allowed = DIGITS if name.lower() == LENGTH else PRINTABLE if name in free else b""
            if allowed:
                self.gaps.append((text, allowed, name.lower() if name.lower() in kept else None))
                text, value = b"", b""
            text += value + b"\r\n"
        self.tail = text + b"\r\n"
        self.last = b"\0"  # a head that matched, as it came; none holds a zero byte
        self.place = (0, 0)

    def body_of(self, data: bytes) -> tuple[int, int] | None:
        """Where the body starts and how long it is, when `data` begins with such a head."""
        if data.startswith(self.last):
            return self.place
        at, length, kept = 0, b"", []
        for text, allowed, name in self.gaps:
            start = at + len(text)
            at = data.find(b"\r", start, start + LONGEST)
            value = data[start:at]
            if at < 0 or not data.startswith(text, start - len(text)) or value.translate(None, allowed):
                return None
            if allowed is DIGITS:
                length = value
            elif name is not None:
                value = value.strip(b" ")
                if name == REQUEST_ID and len(value) > LONGEST_ID:
                    return None
                kept.append((name, value))
        if not length or not data.startswith(self.tail, at):
            return None
        self.fields.update(kept)
        at += len(self.tail)
        self.last, self.place = data[:at], (at, int(length))
        return self.place
