"""Parts of the campaign in which one service is asked both ways, with the fast path and without: malformed requests, and keys that are none."""

import logging
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import serving_models as models
import uvloop
from both_protocols import KEY, LAST, ROW, BothProtocols, mutated, torn
from campaign import Case, Part, Tried, Try, Wrong
from raw_requests import REQUESTS, VERDICTS

ASKED, CASES = 200, 500
GROWTH = 64 * 2**20
WARM = 20
"""Cases after which memory is to be what it will be."""

STATUS = re.compile(rb"HTTP/1\.1 (\d+)")


class Asked(NamedTuple):
    """A loop, and what is asked in it."""

    loop: Any
    protocols: BothProtocols

    def both(self, pieces: list[bytes]) -> bytes:
        """What is answered; Wrong where the two ways differ in what they say or count, or fail."""
        fast, plain = self.loop.run_until_complete(self.protocols.both(pieces, patient=True))
        if fast != plain:
            raise Wrong(
                f"answered {fast!r:.500} with the fast path and {plain!r:.500} without: {pieces!r:.2000}"
            )
        answer: bytes = fast[0]
        failed = [status for status in STATUS.findall(answer) if status.startswith(b"5")]
        if failed:
            raise Wrong(f"answered {failed}: {pieces!r:.2000}")
        return answer


@contextmanager
def asking(scratch: Path, **options: Any) -> Iterator[Asked]:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    model = models.save(scratch / "digits", models.mlp(), {"x": [ROW]})
    loop = uvloop.new_event_loop()

    async def made() -> BothProtocols:
        return BothProtocols(model, scratch, **options)

    yield Asked(loop, loop.run_until_complete(made()))
    loop.close()


@contextmanager
def open_malformed(scratch: Path) -> Iterator[Try]:
    corpus = [*REQUESTS.values(), *(request for request, _ in VERDICTS.values() if len(request) < 2_000)]
    process, sizes = psutil.Process(), list[int]()
    with asking(scratch) as asked:

        def attempt(case: Case) -> Tried:
            dice, sent, answers = case.dice, 0, 0
            while sent < ASKED:
                count = min(dice.randint(1, 5), ASKED - sent)
                times = (0, 1, 1, 2, 5)
                requests = [mutated(dice, dice.choice(corpus), dice.choice(times)) for _ in range(count)]
                answer = asked.both(torn(dice, b"".join(requests) + LAST))
                answers += len(STATUS.findall(answer))
                sent += count
            sizes.append(process.memory_info().rss)
            before = sizes[min(WARM, len(sizes) - 1)]
            if sizes[-1] > before + GROWTH:
                raise Wrong(f"memory is {sizes[-1] / 2**20:.0f} MB, and was {before / 2**20:.0f}")
            return Tried("answered alike both ways", sent, {"MB": sizes[-1] / 2**20, "answers": answers})

        yield attempt


SECRET = "c2VjcmV0"

CREDENTIALS = {
    "none": b"",
    "a wrong key": b"X-API-Key: no\r\n",
    "an empty key": b"X-API-Key:\r\n",
    "a key of blanks": b"X-API-Key: \t \r\n",
    "the key in capitals": b"X-API-Key: K3Y\r\n",
    "part of the key": b"X-API-Key: k3\r\n",
    "the key and more": b"X-API-Key: k3yy\r\n",
    "the key and NUL": b"X-API-Key: k3y\0\r\n",
    "the key in quotes": b'X-API-Key: "k3y"\r\n',
    "a list with the key": b"X-API-Key: k3y, no\r\n",
    "the key folded": b"X-API-Key: no\r\n k3y\r\n",
    "the keys file": b"X-API-Key: keys\r\n",
    "a comment of the file": b"X-API-Key: #\r\n",
    "the key in another header": b"X-Api_Key: k3y\r\nApi-Key: k3y\r\nX-API-Keys: k3y\r\nKey: k3y\r\n",
    "the key of Latin letters": "X-API-Key: k3ÿ\r\n".encode("latin-1"),
    "the key with a space in the name": b"X-API-Key : k3y\r\n",
    "another scheme": b"Authorization: Basic k3y\r\n",
    "a scheme in one word": b"Authorization: Bearerk3y\r\n",
    "no scheme": b"Authorization: k3y\r\n",
    "an empty bearer": b"Authorization: Bearer \r\n",
    "a bearer of quotes": b'Authorization: Bearer "k3y"\r\n',
    "a wrong bearer": b"Authorization: Bearer no\r\n",
    "two schemes": b"Authorization: Basic bm86bm8=, Bearer k3y\r\n",
    "a bearer in base64": b"Authorization: Bearer azN5\r\n",
    "a wrong key beside the bearer": b"Authorization: Bearer k3y\r\nX-API-Key: no\r\n",
    "the key as another's": b"Proxy-Authorization: Bearer k3y\r\n",
    "the key in a cookie": b"Cookie: X-API-Key=k3y; key=k3y\r\n",
    "keys that differ": b"X-API-Key: k3y\r\nX-API-Key: no\r\n",
    "keys that differ, turned round": b"X-API-Key: no\r\nX-API-Key: k3y\r\n",
    "bearers that differ": b"Authorization: Bearer no\r\nAuthorization: Bearer k3y\r\n",
    "who it says it is": b"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=localhost\r\n",
    "a path of its own": b"X-Original-URL: /health\r\nX-Rewrite-URL: /health\r\nX-HTTP-Method-Override: GET\r\n",
    "the webhook's, made up": b"X-MLflow-Signature: v1,AAAA\r\nX-MLflow-Timestamp: 1\r\nX-MLflow-Delivery-Id: a\r\n",
}
"""Whoever brings one of these may see what is open to all, and no more."""

METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")

PATHS = 22
"""As many as `paths_of` gives."""

TWISTS = (
    "{path}", "{path}?key=k3y&x-api-key=k3y", "{path}?/health", "{path}/", "/{path}", "{path}/health", "{path}/../health",
    "/health/..{path}", "/health/%2e%2e{path}", "/health{path}", "{path};/health", "{path}%00", "{path}%2f", "{path}#/health",
    "http://localhost{path}", "http://k3y@localhost{path}", "{upper}", "{escaped}", "/.{path}", "/v2/health/ready/..{path}",
)  # fmt: skip


def paths_of(protocols: BothProtocols) -> list[str]:
    """Every path that the application answers at, by its own tables, and some at which there is nothing."""
    models_of = [f"/v2/models/{name}{rest}" for name in protocols.service.slots for rest in ("", "/ready", "/versions/7", "/versions/7/ready", "/versions/7/infer")]  # fmt: skip
    predict = [path.decode() for path in protocols.service.predict_routes]
    return [*protocols.routes.gets, *predict, *models_of, "/webhook", "/v2/models/other", "/v2/models"]


@contextmanager
def open_credentials(scratch: Path) -> Iterator[Try]:
    with asking(scratch, webhook_secret=SECRET) as asked:
        paths, names = paths_of(asked.protocols), list(CREDENTIALS)

        def attempt(case: Case) -> Tried:
            at = case.among(len(paths) * len(names))
            path, name = paths[at % len(paths)], names[at // len(paths)]
            for pieces in requests(path, CREDENTIALS[name], case.dice):
                answer = asked.both([pieces, LAST])
                shut(asked, pieces, answer, name)
            if not asked.both([ask(b"GET", "/status", KEY), LAST]).startswith(b"HTTP/1.1 200"):
                raise Wrong("the key itself does not open /status")
            return Tried("shut, or open to all", len(METHODS) * len(TWISTS))

        yield attempt


def ask(method: bytes, target: str, credentials: bytes) -> bytes:
    body = b'{"inputs": {"x": [%b]}}' % str(ROW).encode()
    head = (
        b"%b %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    )
    with_body = method in (b"POST", b"PUT", b"PATCH")
    return head % (method, target.encode(), credentials, len(body) * with_body) + body * with_body


def requests(path: str, credentials: bytes, dice: random.Random) -> Iterator[bytes]:
    letter = dice.randrange(1, len(path)) if len(path) > 1 else 0
    escaped = f"{path[:letter]}%{ord(path[letter]):02x}{path[letter + 1 :]}"
    for method in METHODS:
        for twist in TWISTS:
            yield ask(method, twist.format(path=path, upper=path.upper(), escaped=escaped), credentials)


def shut(asked: Asked, request: bytes, answer: bytes, name: str) -> None:
    """Wrong unless the request was refused for its key, or for what it is, or is for a path that is open to all."""
    from urllib.parse import unquote, urlsplit

    status = int(STATUS.findall(answer)[0])
    target = request.split(b" ", 2)[1].decode()
    path = unquote(
        urlsplit(target).path if target.startswith("http") else target.partition("?")[0].partition("#")[0]
    )
    free = asked.protocols.routes.open(path or "/")
    allowed = (400, 401, 421, 431, *((200, 404, 405) if free else ()))
    if status not in allowed or (path == "/webhook" and status == 200):
        raise Wrong(f"{name}: answered {status}: {request!r:.300}")


PARTS = (
    Part(
        "requests", "malformed requests by the connection, torn anywhere, both ways", CASES, open_malformed, tries=ASKED
    ),
    Part(
        "credentials", "every route with no, wrong and twisted credentials, methods and paths, both ways",
        len(CREDENTIALS) * PATHS, open_credentials, tries=len(METHODS) * len(TWISTS),
    ),
)  # fmt: skip
