"""The short way: predict requests answered inside uvicorn's HTTP protocol, without a scope, a task or a queue of events.

It claims a request only when it is the plain case in every respect; anything else takes uvicorn's own way and
gets, byte for byte, the answer it would have got here. A claimed request stands in uvicorn's place for the
current cycle, so that pipelining, shutdown and a lost connection are handled by uvicorn's own code.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.serving.http.fast_reply import ShortCycle
from infra.serving.http.repeated_heads import Head, cut
from infra.serving.http.service import Headers, Route, Service, host_name
from infra.serving.wire.headings import JSON, Heading
from infra.serving.wire.problems import Problem

MAX_HEAD = 64 * 1024

GRACE = 0.5

LAST = [(b"content-type", JSON), (b"connection", b"close")]

ENDS = {
    408: Problem(408, "too_slow", "the request took too long to arrive"),
    431: Problem(431, "too_large", f"the request's head is longer than {MAX_HEAD} bytes"),
    503: Problem(503, "too_many_connections", "as many connections are open as this server takes"),
}

DECLINED = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"})


class ShortProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the short way in it, and with limits on how long a request may take to arrive."""

    service: Service

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.route: Route | None = None
        self.chunks: list[bytes] = []
        self.fields: Headers = {}
        self.short = ShortCycle(self)
        self.known: Head | None = None  # the last head that was accepted
        self.missing = 0  # bytes of a body that is still to come, under a repeated head
        # of one piece of data: requests that begin in it, the last one's route, bytes of its body
        self.begun = 0
        self.claimed: Route | None = None
        self.arrived = 0
        self.head = -1
        self.receiving = False
        self.since = self.service.clock
        self.unread = 0  # bytes of answers that the client had not taken when it was last looked at

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.service.options.max_connections:
            self.give_up(503)

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return
        if self.missing:
            self._goes_on(data)
        elif not self._repeats(data):
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        between = not self.receiving
        self.begun = self.arrived = 0
        super().data_received(data)
        if self.head >= 0:
            self.head += len(data)
            if self.head > MAX_HEAD:
                self.give_up(431)
        elif between and self.begun == 1 and self.claimed is not None and (self.arrived or self.receiving):
            self._remember(data, self.claimed)

    def _remember(self, data: bytes, route: Route) -> None:
        """Keep the head of the claimed request that `data` begins with, if it is beyond doubt which bytes it is."""
        parts = cut(data, len(data) - self.arrived, self.headers)
        if parts is not None:
            self.known = Head(*parts, route, self.fields, self.service.keys.generation)

    def _repeats(self, data: bytes) -> bool:
        """Take a request whose head came before on this connection: the same bytes need no parser."""
        known, short = self.known, self.short
        cycle: object = self.cycle
        if (
            known is None
            or cycle is not short
            or not short.response_complete
            or self.receiving
            or self.timeout_keep_alive_task is not None
            or self.flow.write_paused
            or known.generation != self.service.keys.generation
        ):
            return False
        found = known.body_of(data, self.service.options.max_body)
        if found is None:
            return False
        start, length = found
        missing = start + length - len(data)
        if missing < 0:
            return False
        short.response_complete = False
        short.keep_alive = True
        if missing:
            self.route, self.fields = known.route, known.fields
            self.chunks, self.missing = [data[start:]], missing
            self.receiving, self.since = True, self.service.clock
        else:
            self.service.submit(known.route, known.fields, data[start:], short)
        return True

    def _goes_on(self, data: bytes) -> None:
        """More of the body of a request that repeated a head, and perhaps of what follows it."""
        chunk, rest = data[: self.missing], data[self.missing :]
        self.chunks.append(chunk)
        self.missing -= len(chunk)
        if not self.missing:
            self.on_message_complete()
            if rest:
                self.data_received(rest)

    def give_up(self, status: int) -> None:
        """End a connection whose request is too long or too slow to arrive."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete or self.route is not None:
                body = ENDS[status].body
                heading = Heading([*LAST, (b"retry-after", b"1")] if status == 503 else LAST)
                head = self.front(status, heading) + b"content-length: %d\r\n\r\n" % len(body)
                self.transport.write(head + body)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Something that is no request: what was taken before it is answered first, and then nothing more."""
        if self._owes() and not (self.receiving and self.head < 0):
            self.cycle.keep_alive = False
        else:
            super().send_400_response(msg)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it may still read, so what was taken is answered before the connection ends."""
        if self.receiving or not self._owes():
            return False
        self.cycle.keep_alive = False
        return True

    def _owes(self) -> bool:
        """Whether a request that was taken has no answer yet; `cycle` is that of the last one."""
        return self.cycle is not None and not self.cycle.response_complete

    def shutdown(self) -> None:
        """The server stops. An idle connection may have a request on its way: it is given a moment to arrive."""
        if self._owes():
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(GRACE, self.close_if_idle)

    def close_if_idle(self) -> None:
        if not self.receiving and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def sweep(self, now: float) -> None:
        """Close what has been receiving or idle for too long; called now and then, so that no request needs a timer."""
        options = self.service.options
        unread, before = self.transport.get_write_buffer_size(), self.unread
        self.unread = unread
        if unread and unread != before:
            self.since = now
        elif unread:
            if now - self.since > options.timeout:
                self.transport.abort()
        elif self.receiving:
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
        self.begun += 1
        self.claimed = None
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
        self.route = self.claimed = route
        self.chunks = []
        short = self.short
        short.response_complete = False
        short.keep_alive = True
        self.cycle = short  # type: ignore[assignment]

    def _claims(self, route: Route) -> bool:
        """Whether this request is the plain case."""
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
        self.fields, self.known = fields, None
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
            self.arrived += len(body)

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

    def on_response_complete(self) -> None:
        self.since = self.service.clock
        super().on_response_complete()
