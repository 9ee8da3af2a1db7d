"""The short way: predict requests answered inside uvicorn's HTTP protocol, without a scope, a task or a queue of events.

It claims a request only when it is the plain case in every respect; anything else takes uvicorn's own way and
gets, byte for byte, the answer it would have got here. A claimed request stands in uvicorn's place for the
current cycle, so that pipelining, shutdown and a lost connection are handled by uvicorn's own code.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.serving.answers import Heading
from infra.serving.service import Route, Service, host_name

MAX_HEAD = 64 * 1024
LENGTHS = tuple(b"content-length: %d\r\n" % length for length in range(4096))
DECLINED = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"})


class ShortCycle:
    """A claimed request in flight; it has the attributes that uvicorn reads of a cycle."""

    __slots__ = (
        "body",
        "disconnected",
        "heads",
        "keep_alive",
        "message_event",
        "protocol",
        "response_complete",
    )

    def __init__(self, protocol: "ShortProtocol") -> None:
        self.protocol = protocol
        self.message_event = asyncio.Event()
        self.body = b""
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True

    def answer(self, status: int, heading: Heading, body: bytes) -> None:
        """Write the answer, as uvicorn's own cycle would."""
        self.response_complete = True
        protocol = self.protocol
        if self.disconnected or protocol.transport.is_closing():
            return
        keep_alive = self.keep_alive and not protocol.service.draining
        length = len(body)
        parts = [
            protocol.front(status, heading),
            LENGTHS[length] if length < 4096 else b"content-length: %d\r\n" % length,
            b"\r\n" if keep_alive else b"connection: close\r\n\r\n",
            body,
        ]
        protocol.transport.write(b"".join(parts))
        if not keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class ShortProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the short way in it."""

    service: Service

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.claimed: Route | None = None
        self.chunks: list[bytes] = []
        self.short: ShortCycle | None = None

    def front(self, status: int, heading: Heading) -> bytes:
        """Status line and headers up to the length, made anew when uvicorn changes the date."""
        default = self.server_state.default_headers
        if status != 200:
            return STATUS_LINE[status] + Heading(default).wire + heading.wire
        if heading.made_for is not default:
            heading.front = STATUS_LINE[200] + Heading(default).wire + heading.wire
            heading.made_for = default
        return heading.front

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        route = self.service.hot.get(self.url)
        if route is not None and self._claims(route):
            return
        self._decline()
        super().on_headers_complete()

    def _claims(self, route: Route) -> bool:
        cycle = self.cycle
        if (
            (cycle is not None and not cycle.response_complete)
            or route.slot.current is None
            or self.flow.write_paused
        ):
            return False
        parser = self.parser
        if (
            parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
        ):
            return False
        headers = dict(self.headers)
        service = self.service
        length = headers.get(b"content-length", b"")
        plain = (
            len(headers) == len(self.headers)
            and DECLINED.isdisjoint(headers)
            and length.isdigit()
            and int(length[:12]) <= service.options.max_body
            and headers.get(b"content-type") in route.types
            and (service.hosts is None or host_name(headers.get(b"host")) in service.hosts)
            and service.keys.allow(headers.get(b"authorization"), headers.get(b"x-api-key"))
        )
        if plain:
            self.claimed = route
            self.chunks = []
            self.fields = headers
            if self.short is None:
                self.short = ShortCycle(self)
            else:
                self.short.response_complete = False
                self.short.keep_alive = True
            self.cycle = self.short  # type: ignore[assignment]
        return plain

    def _decline(self) -> None:
        """Put everything where uvicorn's own way expects it."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        if self.claimed is None:
            super().on_body(body)
        else:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        route = self.claimed
        if route is None:
            super().on_message_complete()
            return
        self.claimed = None
        chunks = self.chunks
        assert self.short is not None
        self.service.submit(
            route, self.fields, chunks[0] if len(chunks) == 1 else b"".join(chunks), self.short
        )
