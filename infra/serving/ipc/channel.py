"""The line between two processes of the server: a socket pair that carries one JSON message a line."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from infra.serving.ipc.messages import ANY, Message

LIMIT = 1024 * 1024


class Channel:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Channel":
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end, limit=LIMIT))

    def send(self, message: Message) -> None:
        """Never waits; a line that is gone is no error here: whoever reads from it finds out."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.writer.write(message.model_dump_json().encode() + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """Until the other side is gone."""
        with contextlib.suppress(ConnectionError):
            while line := await self.reader.readline():
                yield ANY.validate_json(line)

    def close(self) -> None:
        self.writer.close()
