"""A request of the fast path between its arrival and its answer, in the place where uvicorn keeps its own."""

import asyncio
from typing import Any, Protocol

from infra.serving.wire.headings import Heading

LENGTHS = tuple(b"content-length: %d\r\n\r\n" % length for length in range(4096))


class Connection(Protocol):
    """What an answer needs of uvicorn's connection and of ours upon it."""

    transport: asyncio.Transport
    server_state: Any
    service: Any
    pipeline: Any
    flow: Any
    since: float

    def front(self, status: int, heading: Heading) -> bytes: ...

    def on_response_complete(self) -> None: ...


class FastReply:
    """A claimed request in flight; it has the attributes that uvicorn reads of a cycle."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "protocol", "response_complete")

    def __init__(self, protocol: Connection) -> None:
        self.protocol = protocol
        self.message_event = asyncio.Event()
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True

    def start(self) -> None:
        """It stands for another request from now on."""
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
        if protocol.pipeline or protocol.flow.read_paused:
            protocol.on_response_complete()
        else:  # all of it that is left then, but for uvicorn's timer, which `sweep` replaces
            protocol.since = protocol.service.clock
            protocol.server_state.total_requests += 1
