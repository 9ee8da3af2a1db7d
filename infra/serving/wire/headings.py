"""An answer's headers, prepared once a version so that an answer costs one join."""

from collections.abc import Iterable
from typing import Protocol

from infra.serving.wire.problems import Problem

JSON = b"application/json"

BINARY = b"application/octet-stream"

MAX_LENGTHS = 1024

Pairs = list[tuple[bytes, bytes]]


class Heading:
    """The headers of an answer but for its length, as pairs for ASGI and as bytes for the wire."""

    __slots__ = ("closes", "front", "made_for", "pairs", "wire")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.pairs: Pairs = list(pairs)
        self.wire = b"".join(b"%b: %b\r\n" % pair for pair in self.pairs)
        self.closes = (b"connection", b"close") in self.pairs
        self.made_for: object = None
        self.front = b""


class Reply(Protocol):
    """Where an answer goes: a connection, or a task waiting for it."""

    def answer(self, status: int, heading: Heading, body: bytes) -> None: ...


class Headings:
    """The headings of one version: every answer names the model, its version and its digest."""

    __slots__ = ("_by_length", "about", "binary", "json", "model", "version")

    def __init__(self, model: str, version: str, digest: str) -> None:
        self.model = model
        self.version = version
        self.about = [
            (b"x-model-name", model.encode()),
            (b"x-model-version", version.encode()),
            (b"x-model-digest", digest.encode()),
        ]
        self.json = Heading([(b"content-type", JSON), *self.about])
        self.binary = Heading([(b"content-type", BINARY), *self.about])
        self._by_length: dict[int, Heading] = {}

    def with_length(self, length: int) -> Heading:
        """For an answer whose JSON part has `length` bytes; made once, for there are few lengths."""
        heading = self._by_length.get(length)
        if heading is None:
            extra = (b"inference-header-content-length", str(length).encode())
            heading = Heading([*self.binary.pairs, extra])
            if len(self._by_length) < MAX_LENGTHS:
                self._by_length[length] = heading
        return heading


def refuse(reply: Reply, problem: Problem, headings: Headings | None = None) -> None:
    """Answer with a problem."""
    pairs = [(b"content-type", JSON), *(headings.about if headings else ())]
    if problem.retry_after is not None:
        pairs.append((b"retry-after", str(problem.retry_after).encode()))
    if problem.status == 401:
        pairs.append((b"www-authenticate", b"Bearer"))
    if problem.allow is not None:
        pairs.append((b"allow", problem.allow.encode()))
    if problem.status == 413:
        pairs.append((b"connection", b"close"))
    reply.answer(problem.status, Heading(pairs), problem.body)
