"""The same server as an ASGI application: every route, under any server; predict routes end in the same `submit`."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from infra.serving.http.routes import Routes
from infra.serving.http.service import Headers, Route, Service, host_name, problem_of
from infra.serving.wire.budget import Hold, no_room
from infra.serving.wire.headings import CLOSE, JSON_LENGTH, Heading, Pairs, refuse
from infra.serving.wire.problems import Problem, malformed
from infra.serving.wire.request_ids import REQUEST_ID, own_id

ONCE = frozenset(
    {
        *(b"host", b"authorization", b"x-api-key", REQUEST_ID, JSON_LENGTH),
        *(b"content-type", b"content-length", b"content-encoding", b"transfer-encoding"),
        *(b"x-mlflow-delivery-id", b"x-mlflow-timestamp", b"x-mlflow-signature"),
    }
)
"""Headers that are read; any other may come as often as it likes."""

ENCODINGS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
"""With how zlib calls them."""

MOST_PACKED = 1032
"""Bytes that one of DEFLATE can stand for."""

ANSWERED = "slipway.answered"
"""In the scope of a request that the connection itself has answered meanwhile: what is said to it now reaches nobody."""

Scope = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Waiting:
    """A reply that a task waits for."""

    def __init__(self) -> None:
        self.id = b""
        self.done: asyncio.Future[tuple[int, Heading, bytes]] = asyncio.get_running_loop().create_future()

    def answer(self, status: int, heading: Heading, body: bytes) -> None:
        if not self.done.done():
            self.done.set_result((status, heading, body))


class Gone(Exception):
    """The connection ended before the body did: nobody is there to be answered, or has the answer already."""


class App:
    """The ASGI application of one worker."""

    def __init__(self, service: Service, routes: Routes) -> None:
        self.service = service
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        waiting, hold = Waiting(), Hold(self.service.budget)
        try:
            await self._handle(scope, receive, waiting, hold)
        except Gone:
            return
        except Exception as error:
            self._refuse(scope, waiting, problem_of(error, f"{scope['method']} {scope['path']}"))
        finally:
            hold.release()
        status, heading, body = await waiting.done
        pairs: Pairs = [*heading.pairs, *([(REQUEST_ID, waiting.id)] if waiting.id else [])]
        pairs.append((b"content-length", str(len(body)).encode()))
        if self.service.draining and not heading.closes:
            pairs.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _refuse(self, scope: Scope, waiting: Waiting, problem: Problem) -> None:
        """By itself, so that nothing of the request is kept by the problem's traceback until garbage is collected."""
        if ANSWERED not in scope:
            self.service.count(problem.status)
        refuse(waiting, problem)

    async def _handle(self, scope: Scope, receive: Receive, waiting: Waiting, hold: Hold) -> None:
        service, path, method = self.service, scope["path"], scope["method"]
        headers = headers_of(scope)
        waiting.id = own_id(headers)
        if not service.answers_as(headers.get(b"host")):
            if host_name(headers.get(b"host")) is None:
                raise malformed("the Host header must be a host name, perhaps with a port")
            raise Problem(421, "wrong_host", "this server does not answer under that host name")
        self.routes.check_key(path, headers)
        route = service.route(path)
        if route is not None and method == "POST":
            value = self._value_type(route, headers)
            body = _wrapped(route, value, await self._body(headers, receive, hold))
            service.submit(route, headers, body, waiting)
        else:
            allowed = "POST" if route is not None else self.routes.method(path)
            if allowed is None:
                raise self.routes.missing(path)
            if method != allowed and (method, allowed) != ("HEAD", "GET"):
                raise Problem(405, "wrong_method", f"this path takes {allowed}", allow=allowed)
            body = await self._body(headers, receive, hold) if allowed == "POST" else b""
            answer = await self.routes.answer(path, headers, body)
            service.count(answer[0])
            waiting.answer(*answer)

    def _value_type(self, route: Route, headers: Headers) -> str | None:
        """The type of a body that is one value of the model's one input; None for the protocol's own."""
        kind = headers.get(b"content-type", b"").lower().translate(None, b' "')
        if kind in route.types:
            return None
        loaded = route.slot.current
        values = () if route.v2 or loaded is None else loaded.invocations.taking.bodies
        if (value := kind.removesuffix(b";charset=utf-8").decode("latin-1")) in values:
            return value
        own = sorted(kind.decode() for kind in route.types if kind and b"charset" not in kind)
        raise Problem(415, "wrong_type", f"this path takes {', '.join([*own, *values])}")

    async def _body(self, headers: Headers, receive: Receive, hold: Hold) -> bytes:
        limit = self.service.options.max_body
        too_long = Problem(413, "too_large", f"the body is longer than {limit} bytes")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:18]) > limit:
            raise too_long
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_long
            if not hold.grow(len(body) - hold.size):
                raise no_room()
            if not message.get("more_body"):
                break
        encoding = headers.get(b"content-encoding", b"identity").lower().strip()
        if encoding == b"identity":
            return bytes(body)
        if encoding not in ENCODINGS:
            raise Problem(415, "wrong_encoding", "Content-Encoding may be gzip, deflate or identity")
        async with self.service.unpacking:
            if not hold.grow(min(limit, MOST_PACKED * len(body))):
                raise no_room()
            unpacked = await self.service.loop.run_in_executor(
                self.service.reader, unzipped, bytes(body), limit, encoding
            )
            hold.shrink(len(unpacked))
        return unpacked


def _wrapped(route: Route, value: str | None, body: bytes) -> bytes:
    """A body that is one value, as the model's protocol has it."""
    loaded = route.slot.current
    return body if value is None or loaded is None else loaded.invocations.wrapped(value, body)


def headers_of(scope: Scope) -> Headers:
    """A request's headers by name; Problem when the same is said twice, for whoever stands in front may have believed the other."""
    pairs: Pairs = scope["headers"]
    headers = dict(pairs)
    if len(headers) < len(pairs):
        names = [name for name, _ in pairs]
        for name in sorted(ONCE):
            if names.count(name) > 1:
                raise malformed(f"the header {name.decode()!r} is given more than once")
    if scope["http_version"] == "1.0":
        headers.setdefault(b"host", b"")
    return headers


def unzipped(body: bytes, limit: int, encoding: bytes = b"gzip") -> bytes:
    """A packed body, never larger than the limit while it is unpacked."""
    stream = zlib.decompressobj(wbits=ENCODINGS[encoding])
    name = encoding.decode()
    try:
        data = stream.decompress(body, limit + 1)
    except zlib.error:
        raise malformed(f"the body is not {name}") from None
    if len(data) > limit:
        raise Problem(413, "too_large", f"the body is longer than {limit} bytes when unpacked")
    if not stream.eof or stream.unused_data:
        raise malformed(f"the {name} body is cut short or has something after its end")
    return data


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
