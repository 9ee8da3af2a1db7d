"""An answer's headers, prepared once a version so that an answer costs one join."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from infra.serving.wire.budget import NO_ROOM
from infra.serving.wire.problems import Problem

JSON = b"application/json"

BINARY = b"application/octet-stream"

CLOSE = (b"connection", b"close")

JSON_LENGTH = b"inference-header-content-length"

MAX_LENGTHS = 1024

Pairs = list[tuple[bytes, bytes]]


class Heading:
    """The headers of an answer but for its length, as pairs for ASGI and as bytes for the wire."""

    __slots__ = ("closes", "front", "made_for", "pairs", "wire")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.pairs: Pairs = list(pairs)
        self.wire = b"".join(b"%b: %b\r\n" % pair for pair in self.pairs)
        self.closes = CLOSE in self.pairs
        self.made_for: object = None
        self.front = b""


class Reply(Protocol):
    """Where an answer goes: a connection, or a task waiting for it."""

    id: bytes
    """What the request is called; empty as long as it is not called anything."""

    def answer(self, status: int, heading: Heading, body: bytes) -> None: ...


class Headings:
    """The headings of one version: every answer names the model, its version and its digest."""

    __slots__ = ("about", "binary", "json", "model", "version", "with_length")

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
        self.with_length = lru_cache(MAX_LENGTHS)(self._with_length)

    def _with_length(self, length: int) -> Heading:
        """For an answer whose JSON part has `length` bytes; made once, for there are few lengths."""
        return Heading([*self.binary.pairs, (JSON_LENGTH, str(length).encode())])


def refuse(reply: Reply, problem: Problem, headings: Headings | None = None) -> None:
    """Answer with a problem."""
    reply.answer(problem.status, heading_of(problem, headings), problem.body)


def heading_of(problem: Problem, headings: Headings | None = None, closes: bool = False) -> Heading:
    """The headers that go with a problem; `closes`: nothing more is taken on its connection."""
    pairs = [(b"content-type", JSON), *(headings.about if headings else ())]
    if problem.retry_after is not None:
        pairs.append((b"retry-after", str(problem.retry_after).encode()))
    if problem.status == 401:
        pairs.append((b"www-authenticate", problem.challenge.encode()))
    if problem.allow is not None:
        pairs.append((b"allow", problem.allow.encode()))
    if closes or problem.status == 413 or problem.code == NO_ROOM:
        pairs.append(CLOSE)
    return Heading(pairs)
