"""The short way: predict requests answered inside uvicorn's HTTP protocol, without a scope, a task or a queue of events.

It claims a request only when it is the plain case in every respect; anything else takes uvicorn's own way and
gets, byte for byte, the answer it would have got here. A claimed request stands in uvicorn's place for the
current cycle, so that pipelining, shutdown and a lost connection are handled by uvicorn's own code.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.serving.answers import Heading
from infra.serving.service import Headers, Route, Service, host_name

MAX_HEAD = 64 * 1024
GRACE = 0.5
LENGTHS = tuple(b"content-length: %d\r\n\r\n" % length for length in range(4096))
DECLINED = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"})


class ShortCycle:
    """A claimed request in flight; it has the attributes that uvicorn reads of a cycle."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "protocol", "response_complete")

    def __init__(self, protocol: "ShortProtocol") -> None:
        self.protocol = protocol
        self.message_event = asyncio.Event()
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True

    def answer(self, status: int, heading: Heading, body: bytes) -> None:
        """Write the answer, as uvicorn's own cycle would."""
        self.response_complete = True
        protocol = self.protocol
        transport = protocol.transport
        if self.disconnected or transport.is_closing():
            return
        length = len(body)
        head = LENGTHS[length] if length < 4096 else b"content-length: %d\r\n\r\n" % length
        current = status == 200 and heading.made_for is protocol.server_state.default_headers
        front = heading.front if current else protocol.front(status, heading)
        if self.keep_alive and not protocol.service.draining and not heading.closes:
            transport.write(b"".join((front, head, body)))
        else:
            close = b"" if heading.closes else b"connection: close\r\n"
            transport.write(b"".join((front, head[:-2], close, b"\r\n", body)))
            transport.close()
        protocol.answered()


class ShortProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the short way in it, and with limits on how long a request may take to arrive."""

    service: Service

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.route: Route | None = None
        self.chunks: list[bytes] = []
        self.fields: Headers = {}
        self.short = ShortCycle(self)
        self.known: list[tuple[bytes, bytes]] = []
        self.known_route: Route | None = None
        self.known_keys = -1
        self.length_at = 0
        self.head = -1
        self.receiving = False
        self.since = self.service.clock

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.service.options.max_connections:
            self.give_up(503)

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return
        super().data_received(data)
        if self.head >= 0:
            self.head += len(data)
            if self.head > MAX_HEAD:
                self.give_up(431)

    def give_up(self, status: int) -> None:
        """End a connection whose request is too long or too slow to arrive."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete or self.route is not None:
                self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops. An idle connection may have a request on its way: it is given a moment to arrive."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(GRACE, self.close_if_idle)

    def close_if_idle(self) -> None:
        if not self.receiving and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def sweep(self, now: float) -> None:
        """Close what has been receiving or idle for too long; called now and then, so that no request needs a timer."""
        options = self.service.options
        if self.receiving:
            if now - self.since > options.timeout:
                self.give_up(408)
        elif (self.cycle is None or self.cycle.response_complete) and now - self.since > options.keep_alive:
            self.transport.close()

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
        self.head = 0
        self.receiving = True
        self.since = self.service.clock

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.head = -1
        route = self.service.hot.get(self.url)
        if route is None or not self._claims(route):
            self._decline()
            super().on_headers_complete()
            return
        self.route = route
        self.chunks = []
        short = self.short
        short.response_complete = False
        short.keep_alive = True
        self.cycle = short  # type: ignore[assignment]

    def _claims(self, route: Route) -> bool:
        """Whether this request is the plain case. Headers that passed before, but for their length, pass at once."""
        cycle = self.cycle
        parser = self.parser
        if (
            (cycle is not None and not cycle.response_complete)
            or route.slot.current is None
            or self.flow.write_paused
            or parser.get_method() != b"POST"
            or not parser.should_keep_alive()
            or parser.get_http_version() != "1.1"
        ):
            return False
        headers, known, at = self.headers, self.known, self.length_at
        if (
            route is self.known_route
            and len(headers) == len(known)
            and self.known_keys == self.service.keys.generation
        ):
            length = headers[at]
            headers[at] = known[at]
            same = headers == known
            headers[at] = length
            if same and length[0] == known[at][0] and self._short_enough(length[1]):
                return True
        return self._checks(route)

    def _short_enough(self, length: bytes) -> bool:
        return length.isdigit() and len(length) < 12 and int(length) <= self.service.options.max_body

    def _checks(self, route: Route) -> bool:
        service = self.service
        fields = {name.lower(): value for name, value in self.headers}
        if (
            len(fields) != len(self.headers)
            or not DECLINED.isdisjoint(fields)
            or not self._short_enough(fields.get(b"content-length", b""))
            or fields.get(b"content-type", b"") not in route.types
            or (service.hosts is not None and host_name(fields.get(b"host")) not in service.hosts)
            or not service.keys.allow(fields.get(b"authorization"), fields.get(b"x-api-key"))
        ):
            return False
        self.fields = fields
        self.known, self.known_route, self.known_keys = self.headers, route, service.keys.generation
        self.length_at = next(
            at for at, (name, _) in enumerate(self.headers) if name.lower() == b"content-length"
        )
        return True

    def _decline(self) -> None:
        """Put everything where uvicorn's own way expects it."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        if self.route is None:
            super().on_body(body)
        else:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.receiving = False
        route = self.route
        if route is None:
            super().on_message_complete()
            return
        self.route = None
        chunks = self.chunks
        self.service.submit(
            route, self.fields, chunks[0] if len(chunks) == 1 else b"".join(chunks), self.short
        )

    def answered(self) -> None:
        """After a short answer: what uvicorn does after one, but for the timer, which `sweep` replaces."""
        self.since = self.service.clock
        if self.pipeline or self.flow.read_paused:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def on_response_complete(self) -> None:
        self.since = self.service.clock
        super().on_response_complete()
