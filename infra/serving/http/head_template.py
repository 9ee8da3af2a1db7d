"""The head of an accepted request, as a template: one that differs only in what nobody reads needs no parser.

The template is written from what the parser understood, so a head that matches can be understood in no other way: the
gaps end at the first carriage return and hold printable characters, or digits. Nothing slips past the checks by it.

One pattern finds the gaps, by the lengths of what stands between them, which is then compared: clients whose heads have one shape share it.
"""

import re
from collections.abc import Set

from infra.serving.http.service import Headers, Route
from infra.serving.wire.headings import JSON_LENGTH, Pairs
from infra.serving.wire.request_ids import LONGEST_ID, REQUEST_ID

LENGTH = b"content-length"

READ = frozenset(
    {
        *(b"host", b"content-type", b"authorization", b"x-api-key", JSON_LENGTH),
        *(b"connection", b"proxy-connection"),
    }
)
"""What a check, a codec or the parser reads of an accepted head; whoever comes to read more has to add it here."""

LONGEST = 256

PRINTABLE, DIGITS = b"([ -~]{0,255}+)", b"([0-9]{1,255}+)"
"""What may stand in a gap; none of it is ever given back, so that a head is looked at once."""


class HeadTemplate:
    """A head with gaps for its length and for the headers in `free`; `fields` are those that are read, and `id` the request's own, of the last that matched."""

    __slots__ = (
        "digests",
        "fields",
        "free",
        "id",
        "id_at",
        "key",
        "key_at",
        "last",
        "length_at",
        "match",
        "observers",
        "place",
        "route",
        "slot",
        "texts",
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
        self.length_at = self.id_at = self.key_at = 0  # among the groups; the first is never a gap
        texts, shape, text = [], b"", b"POST %b HTTP/1.1\r\n" % url
        for name, value in headers:
            text += name + b": "
            lower = name.lower()
            if lower == LENGTH or name in free:
                shape += b"(.{%d})%b" % (len(text), DIGITS if lower == LENGTH else PRINTABLE)
                texts.append(text)
                at, text, value = 2 * len(texts) - 1, b"", b""
                self.length_at = at if lower == LENGTH else self.length_at
                self.id_at = at if lower == REQUEST_ID else self.id_at
                self.key_at = at if lower == self.key else self.key_at
            text += value + b"\r\n"
        self.texts = (*texts, text + b"\r\n")
        self.match = re.compile(shape + b"(.{%d})" % len(self.texts[-1]), re.DOTALL).match
        self.last = b"\0"  # a head that matched, as it came; none holds a zero byte
        self.place = (0, 0)

    def body_of(self, data: bytes) -> tuple[int, int] | None:
        """Where the body starts and how long it is, when `data` begins with such a head."""
        if data.startswith(self.last):
            return self.place
        match = self.match(data)
        if match is None:
            return None
        parts = match.groups()
        if parts[::2] != self.texts:
            return None
        if self.id_at:
            id = parts[self.id_at].strip(b" ")
            if len(id) > LONGEST_ID:
                return None
            self.id = id
        if self.key_at:
            self.fields[self.key] = parts[self.key_at].strip(b" ")
        self.last, self.place = match[0], (match.end(), int(parts[self.length_at]))
        return self.place
