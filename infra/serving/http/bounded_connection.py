"""A connection with limits, whichever way its requests go: on a head's length, on time, and on what a head may say.

What ends it is said after the answers to all that was taken before, and never in the place of one of them.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.serving.http.asgi import ANSWERED
from infra.serving.http.service import Route, Service
from infra.serving.options import MAX_HEAD
from infra.serving.wire.budget import Hold, no_room
from infra.serving.wire.headings import Heading, heading_of
from infra.serving.wire.problems import Problem, malformed

FIELD = 32
"""What a header costs beside its bytes, as in HTTP/2 (RFC 9113, 6.5.2): very many short ones take memory, too."""

SLICE = 4096
"""How much is parsed before it is asked whether requests wait: each takes kilobytes, and may have come in thirty bytes."""

GRACE = 0.5

TOO_SLOW = Problem(408, "too_slow", "the request took too long to arrive")

TOO_LONG = Problem(
    431, "too_large", f"the request's head is longer than {MAX_HEAD} bytes, or its trailers are"
)

TOO_MANY = Problem(503, "too_many_connections", "as many connections are open as this server takes", 1)

UNREADABLE = malformed("this is not an HTTP/1.1 request that the server can read")


class Stop(Exception):
    """Raised where the parser calls, to end it there with the Problem in it."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits on connections, on a head's length and on time; `sweep` is its only timer."""

    service: Service

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.route: Route | None = None  # of a request that was claimed and is still arriving
        self.receiving = False
        self.heading = False  # whether what arrives is still the head
        self.size = 0  # what the head, or the trailers, that are arriving come to so far
        self.line = 0  # bytes of a line of theirs that has not ended
        self.piece = 0  # bytes of the last piece of a body in what is being read
        self.held = b""  # what was read behind requests that wait, and is not parsed yet
        self.last: bytes | None = None  # said when all that was taken is answered, and then no more
        self.since = self.service.clock
        self.arrived = Hold(self.service.budget)  # of a body that is still arriving
        self.behind = Hold(self.service.budget)  # of `held`
        self.unsent = Hold(self.service.budget)  # of answers that the client is slow to take
        self.unread = 0  # bytes of answers that the client had not taken when it was last looked at

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.service.options.max_connections:
            self.give_up(TOO_MANY)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        for start in range(0, len(data), SLICE):
            if self.parser is None or self.last is not None or self.transport.is_closing():
                return
            if (
                self.pipeline or self.held
            ):  # reading has paused; it goes on when nothing waits behind an answer
                self.held += data[start:]
                if not self.behind.grow(len(data) - start):
                    self.give_up(no_room())
                return
            self._take_in(data[start : start + SLICE])

    def _take_held(self) -> None:
        data, self.held = self.held, b""
        self.behind.release()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(data)

    def _take_in(self, data: bytes) -> None:
        """Have it parsed, which takes the requests in it; end the connection where it is not what may come."""
        self.piece = 0
        try:
            rest = self._parse(data)
            while rest is not None:
                self._take_head_again()
                rest = self._parse(rest)
        except httptools.HttpParserError as error:
            self.logger.warning("Invalid HTTP request received.")
            reason = error.__context__
            self.give_up(reason.args[0] if isinstance(reason, Stop) else UNREADABLE)
            return
        if self.piece < len(data):
            self._measure_line(data)

    def _parse(self, data: bytes | memoryview) -> memoryview | None:
        """Have it parsed; what is left when a request offers another protocol, for there the parser stops."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            return memoryview(data)[offer.args[0] :]
        return None

    def _take_head_again(self) -> None:
        """The offer of another protocol is not taken up: the same head without it, and then its body, are a request as any."""
        version = self.parser.get_http_version()
        first = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version.encode())
        lines = [b"%b: %b" % pair for pair in self.headers if pair[0].lower() != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self.parser.feed_data(b"\r\n".join((first, *lines, b"\r\n")))

    def _measure_line(self, data: bytes) -> None:
        """A line that does not end is counted while it arrives; what has ended, by its parts. No split changes a verdict."""
        rest = len(data) - 1 - data.rfind(b"\n")
        goes_on = rest == len(data) and not self.piece
        self.line = max(0, rest - self.piece) + (self.line if goes_on else 0) if self.receiving else 0
        if self.size + self.line > MAX_HEAD:
            self.give_up(TOO_LONG)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.size = FIELD
        self.heading = self.receiving = True
        self.since = self.service.clock

    def on_header(self, name: bytes, value: bytes) -> None:
        self.size += len(name) + len(value) + FIELD
        if self.size > MAX_HEAD:
            raise Stop(TOO_LONG)
        if self.heading:  # a trailer says nothing: the request was judged by its head
            self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self.size + len(self.url) > MAX_HEAD:
            raise Stop(TOO_LONG)
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # no body is read behind such a head: it is taken again without the offer
        if not self.url.startswith(b"/"):
            self._make_relative()
        self.heading = False
        self.take()
        self.size = 0

    def _make_relative(self) -> None:
        """A target in absolute form says the host itself, and the Host header nothing (RFC 9112, 3.2.2)."""
        target = httptools.parse_url(self.url)
        if not target.schema:
            return
        if target.schema.lower() not in (b"http", b"https") or target.userinfo:
            raise Stop(UNREADABLE)
        host = b"[%b]" % target.host if b":" in target.host else target.host
        if target.port:
            host += b":%d" % target.port
        self.url = (target.path or b"/") + (b"?" + target.query if target.query else b"")
        self.headers = [(name, host if name.lower() == b"host" else value) for name, value in self.headers]

    def take(self) -> None:
        """uvicorn's own way, for a request that is not claimed: everything is put where it expects it."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.piece = len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.heading:
            self.receiving = False
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        for hold in (self.arrived, self.behind, self.unsent):
            hold.release()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer slowly: what waits for it is counted, and dropped where there is no room for it."""
        super().pause_writing()
        if not self.unsent.grow(self.transport.get_write_buffer_size()):
            self.transport.abort()

    def resume_writing(self) -> None:
        self.unsent.release()
        super().resume_writing()

    def give_up(self, problem: Problem) -> None:
        """End a connection whose request cannot be read, or is too long or too slow to arrive, and say so."""
        body = problem.body
        front = self.front(problem.status, heading_of(problem, closes=True))
        if self.finish(b"%bcontent-length: %d\r\n\r\n%b" % (front, len(body), body)):
            self.service.count(problem.status)

    def finish(self, last: bytes) -> bool:
        """Take nothing more; when all that was taken is answered, say `last` in the place of what is still arriving, and close."""
        if self.last is not None or self.transport.is_closing():
            return False
        waits = self.owes()
        if self.receiving and not self.heading:  # the last cycle's request is the one that is arriving
            waits = bool(self.pipeline) and self.pipeline[0][0] is self.cycle
            if waits:
                self.pipeline.popleft()
            elif self.cycle.response_complete:
                last = b""
            else:
                self.cycle.disconnected = True  # it has its answer now
                if self.scope is not None:
                    self.scope[ANSWERED] = True  # type: ignore[literal-required]
        if waits:
            self.last = last
            self.flow.pause_reading()
        else:
            self.transport.write(last)
            self.transport.close()
        return bool(last)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it may still read, so what was taken is answered before the connection ends."""
        if self.receiving or not self.owes():
            self.finish(b"")
        elif self.last is None:
            self.cycle.keep_alive = False
        return not self.transport.is_closing()

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
                self.give_up(TOO_SLOW)
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
        if self.last is None or self.pipeline:
            super().on_response_complete()
            if self.held and not self.transport.is_closing():
                self.flow.pause_reading()
                if not self.pipeline:
                    self.loop.call_soon(self._take_held)
            return
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.transport.write(self.last)
            self.transport.close()
