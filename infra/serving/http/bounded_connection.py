"""A connection that ends when it takes too long: to send a request, to read an answer, or to say anything at all."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.serving.http.service import Route, Service
from infra.serving.wire.headings import Heading, heading_of
from infra.serving.wire.problems import Problem

MAX_HEAD = 64 * 1024

GRACE = 0.5

ENDS = {
    408: Problem(408, "too_slow", "the request took too long to arrive"),
    431: Problem(431, "too_large", f"the request's head is longer than {MAX_HEAD} bytes"),
    503: Problem(503, "too_many_connections", "as many connections are open as this server takes", 1),
}


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits on connections, on a head's length and on time; `sweep` is its only timer."""

    service: Service

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.route: Route | None = None  # of a request that was claimed and is still arriving
        self.head = -1  # bytes of a head that is still arriving, else -1
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
        super().data_received(data)
        if self.head >= 0:
            self.head += len(data)
            if self.head > MAX_HEAD:
                self.give_up(431)

    def give_up(self, status: int) -> None:
        """End a connection whose request is too long or too slow to arrive."""
        if not self.transport.is_closing():
            if self.route is not None or not self.owes():
                problem = ENDS[status]
                front = self.front(status, heading_of(problem, closes=True))
                body = problem.body
                self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (front, len(body), body))
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Something that is no request: what was taken before it is answered first, and then nothing more."""
        if self.owes() and not (self.receiving and self.head < 0):
            self.cycle.keep_alive = False
        else:
            super().send_400_response(msg)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it may still read, so what was taken is answered before the connection ends."""
        if self.receiving or not self.owes():
            return False
        self.cycle.keep_alive = False
        return True

    def owes(self) -> bool:
        """Whether a request that was taken has no answer yet; `cycle` is that of the last one."""
        return self.cycle is not None and not self.cycle.response_complete

    def shutdown(self) -> None:
        """The server stops. An idle connection may have a request on its way: it is given a moment to arrive."""
        if self.owes():
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(GRACE, self.close_if_idle)

    def close_if_idle(self) -> None:
        if not self.receiving and not self.owes():
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
        elif not self.owes() and now - self.since > options.keep_alive:
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

    def on_response_complete(self) -> None:
        self.since = self.service.clock
        super().on_response_complete()
