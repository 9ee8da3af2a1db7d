"""The fast path: predict requests answered inside uvicorn's HTTP protocol, without a scope, a task or a queue of events.

It claims a request only when it is the plain case in every respect; anything else takes uvicorn's own way and
gets, byte for byte, the answer it would have got here. A claimed request stands in uvicorn's place for the
current cycle, so that pipelining, shutdown and a lost connection are handled by uvicorn's own code.
"""

from typing import Any

from infra.serving.http.bounded_connection import BoundedConnection
from infra.serving.http.fast_reply import FastReply
from infra.serving.http.head_template import LONGEST, READ, HeadTemplate
from infra.serving.http.service import Headers, Route
from infra.serving.options import MAX_HEAD
from infra.serving.wire.budget import no_room
from infra.serving.wire.headings import Pairs
from infra.serving.wire.request_ids import REQUEST_ID, is_repeatable

DECLINED = frozenset({b"transfer-encoding", b"content-encoding", b"expect"})


class FastPathProtocol(BoundedConnection):
    """uvicorn's protocol with the fast path in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields: Headers = {}
        self.chunks: list[bytes] = []
        self.missing = 0  # bytes of a body that is still to come behind a head that matched
        self.reply = FastReply(self)
        self.accepted: Pairs = []  # the headers of the last request that was claimed from the parser
        self.template: HeadTemplate | None = None

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self._continue_body(data)
        elif self.template is None or not self._claims_by_template(self.template, data):
            super().data_received(data)

    def _claims_by_template(self, template: HeadTemplate, data: bytes) -> bool:
        """Whether `data` begins a request with a head like the last one's, which is then taken."""
        reply = self.reply
        cycle: object = self.cycle
        if (
            cycle is not reply
            or not reply.response_complete
            or self.receiving
            or self.timeout_keep_alive_task is not None
            or self.flow.write_paused
            or self.transport.is_closing()
            or template.digests is not self.service.keys.digests
            or template.observers is not template.slot.observers
        ):
            return False
        place = template.body_of(data)
        if place is None:
            return False
        start, length = place
        missing = start + length - len(data)
        if missing < 0 or length > self.service.options.max_body:
            return False
        reply.id, reply.response_complete, reply.keep_alive = (
            template.id,
            False,
            True,
        )  # `start`, without a call
        if missing:
            self.route, self.fields = template.route, template.fields
            self.chunks, self.missing = [data[start:]], missing
            self.receiving, self.since = True, self.service.clock
            self._hold(len(data) - start)
        else:
            self.service.submit(template.route, template.fields, data[start:], reply)
        return True

    def _continue_body(self, data: bytes) -> None:
        """More of a body behind a head that matched, and perhaps of what follows it."""
        chunk, rest = data[: self.missing], data[self.missing :]
        self.chunks.append(chunk)
        self.missing -= len(chunk)
        self._hold(len(chunk))
        if not self.missing:
            self.on_message_complete()
            if rest:
                self.data_received(rest)

    def _hold(self, size: int) -> None:
        """More of a body is here: it is counted, and nothing more of it is taken where there is no room."""
        if not self.arrived.grow(size):
            self.chunks, self.missing = [], 0
            self.give_up(no_room())

    def take(self) -> None:
        route = self.service.predict_routes.get(self.url)
        if route is None or not self._is_free() or not self._accepts(route):
            super().take()
            return
        self.route = route
        self.chunks = []
        self.reply.start(self.fields.get(REQUEST_ID, b""))
        self.cycle = self.reply  # type: ignore[assignment]

    def _is_free(self) -> bool:
        """Whether nothing is unanswered or unread here, and what comes is a POST on a connection that stays."""
        parser = self.parser
        return (
            not self.owes()
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
        )

    def _accepts(self, route: Route) -> bool:
        """Whether the head is the plain case, and allowed; then it may serve as a template for the next."""
        service = self.service
        fields = {name.lower(): value for name, value in self.headers}
        if (
            route.slot.current is None
            or len(fields) != len(self.headers)
            or not DECLINED.isdisjoint(fields)
            or not self._is_short(fields.get(b"content-length", b""))
            or fields.get(b"content-type", b"") not in route.types
            or not service.answers_as(fields.get(b"host"))
            or not service.keys.allow(fields)
            or not is_repeatable(fields.get(REQUEST_ID, b""))
        ):
            return False
        self.fields = fields
        self._learn(route)
        return True

    def _is_short(self, length: bytes) -> bool:
        return length.isdigit() and len(length) < 12 and int(length) <= self.service.options.max_body

    def _learn(self, route: Route) -> None:
        """Make a template once two heads on this connection differ in nothing that is read."""
        template, digests = self.template, self.service.keys.digests
        changed = {name for name, _ in set(self.headers).symmetric_difference(self.accepted)}
        self.accepted = self.headers
        if self.size + LONGEST * len(self.headers) > MAX_HEAD:  # what it lets through is within the limit
            self.template = None
        elif not READ.isdisjoint(map(bytes.lower, changed)):
            self.template = None
        elif template is None or not (
            changed <= template.free
            and template.route is route
            and template.digests is digests
            and template.observers is route.slot.observers
        ):
            free = changed if template is None else changed | template.free
            self.template = HeadTemplate(self.url, self.headers, free, route, self.fields, digests)

    def on_body(self, body: bytes) -> None:
        if self.route is None:
            super().on_body(body)
        else:
            self.piece = len(body)
            self.chunks.append(body)
            self._hold(len(body))

    def on_message_complete(self) -> None:
        route = self.route
        if route is None:
            super().on_message_complete()
            return
        self.route = None
        self.receiving = False
        self.arrived.release()
        if self.transport.is_closing():
            return
        chunks, self.chunks = self.chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        del chunks
        self.service.submit(route, self.fields, body, self.reply)
