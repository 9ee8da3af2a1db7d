"""The fast path and uvicorn's own give the same bytes, whatever comes in: plain, odd, mutated, split or smuggled."""

import json
import random
import re
from pathlib import Path

import uvloop
from both_protocols import (
    BODY,
    CHUNKED,
    CHUNKS,
    HEAD,
    KEY,
    LAST,
    ROW,
    TWO_ROWS,
    BothProtocols,
    compared,
    mutated,
    post,
    statuses,
    torn,
)

REQUESTS = {
    "plain": post(),
    "twice": post() + post(),
    "ten pipelined": post() * 10,
    "good then bad then good": post() + post(b"{") + post(),
    "short, long, short": post() + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + post(),
    "v2": post(
        json.dumps({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROW}]}).encode(),
        b"/v2/models/digits/infer",
    ),
    "no key": post(extra=b""),
    "wrong key": post(extra=b"X-API-Key: no\r\n"),
    "bearer": post(extra=b"Authorization: Bearer k3y\r\n"),
    "two keys": post(extra=KEY + b"X-API-Key: no\r\n"),
    "foreign host": post().replace(b"Host: localhost", b"Host: evil.example"),
    "host with port": post().replace(b"Host: localhost", b"Host: 127.0.0.1:8080"),
    "no host": post().replace(b"Host: localhost\r\n", b""),
    "query": post(path=b"/invocations?a=1"),
    "escaped path": post(path=b"/%69nvocations"),
    "absolute form": post(path=b"http://localhost/invocations"),
    "double slash": post(path=b"//invocations"),
    "dots": post(path=b"/models/../invocations"),
    "get": post().replace(b"POST", b"GET", 1),
    "put": post().replace(b"POST", b"PUT", 1),
    "head": b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "http 1.0": post().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "connection close": post(extra=KEY + b"Connection: close\r\n"),
    "expect": post(extra=KEY + b"Expect: 100-continue\r\n"),
    "upgrade": post(extra=KEY + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "h2c": post(
        extra=KEY + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
    ),
    "form": post().replace(b"application/json", b"application/x-www-form-urlencoded"),
    "charset": post().replace(b"application/json", b"application/json; charset=utf-8"),
    "gzip that is not": post(extra=KEY + b"Content-Encoding: gzip\r\n"),
    "empty": post(b""),
    "too long": post(length=b"99999999999"),
    "chunked": HEAD + CHUNKED + b"\r\n" + CHUNKS,
    "chunked with extension": HEAD + CHUNKED + b"\r\n" + CHUNKS.replace(b"\r\n", b";a=b\r\n", 1),
    "length and chunked": HEAD + CHUNKED + b"Content-Length: 5\r\n\r\n" + CHUNKS,
    "chunked and length": HEAD + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n" + CHUNKS,
    "two lengths": post(extra=KEY + b"Content-Length: 3\r\n"),
    "same length twice": post(extra=KEY + b"Content-Length: %d\r\n" % len(BODY)),
    "negative length": post(length=b"-1"),
    "plus length": post(length=b"+%d" % len(BODY)),
    "hex length": post(length=b"0x10"),
    "list of lengths": post(length=b"%d, %d" % (len(BODY), len(BODY))),
    "space before colon": post().replace(b"Content-Length:", b"Content-Length :"),
    "tab in encoding": HEAD + b"Transfer-Encoding:\tchunked\r\n\r\n" + CHUNKS,
    "obscured encoding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "encoding twice": HEAD + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "folded header": post(extra=KEY + b"X-A: b\r\n c\r\n"),
    "bare newline": post().replace(b"\r\n", b"\n"),
    "null in header": post(extra=KEY + b"X-A: \x00\r\n"),
    "smuggled": post(BODY + post(extra=b"")),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


def test_both_protocols_answer_byte_for_byte_the_same(folder: Path, tmp_path: Path) -> None:
    answers = compared(folder, tmp_path, [(name, [request + LAST]) for name, request in REQUESTS.items()])
    assert answers["plain"].startswith(b"HTTP/1.1 200 OK\r\n") and b"x-model-version: 7" in answers["plain"]
    assert answers["ten pipelined"].count(b"HTTP/1.1 200 OK") == 11
    assert re.findall(rb"HTTP/1.1 (\d+)", answers["good then bad then good"]) == [
        b"200",
        b"400",
        b"200",
        b"200",
    ]
    for name in ("no key", "wrong key"):
        assert answers[name].startswith(b"HTTP/1.1 401"), name
    assert answers["foreign host"].startswith(b"HTTP/1.1 421")
    assert answers["too long"].startswith(b"HTTP/1.1 413")
    assert answers["smuggled"].count(b"HTTP/1.1") == 2, "the inner request is body, never a request"
    for name in (
        "length and chunked",
        "chunked and length",
        "two lengths",
        "negative length",
        "obscured encoding",
    ):
        assert answers[name].count(b"HTTP/1.1 200") == 0, name


def test_both_protocols_agree_on_mutated_and_split_requests(folder: Path, tmp_path: Path) -> None:
    dice = random.Random(20261122)
    corpus = list(REQUESTS.values())
    cases = []
    for number in range(400):
        whole = mutated(dice, dice.choice(corpus), dice.choice((0, 1, 1, 2, 5))) + LAST
        cases.append((f"{number}: {whole!r}", torn(dice, whole)))
    answers = compared(folder, tmp_path, cases)
    assert statuses(answers) <= {b"2", b"4", b"1"}, "no mutation may cost more than a 4xx"


def test_what_arrives_before_an_answer_waits_its_turn(folder: Path, tmp_path: Path) -> None:
    """The broken one is refused at once, and yet must not overtake the others."""

    async def run() -> bytes:
        protocols = BothProtocols(folder, tmp_path)

        class Hasty(protocols.fast):  # type: ignore[misc, name-defined]
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if data == post(TWO_ROWS):
                    super().data_received(post())
                    super().data_received(post(b"{"))

        return await protocols.talk(Hasty, [post(), post(TWO_ROWS), LAST], patient=True)

    assert re.findall(rb"HTTP/1.1 (\d+)", uvloop.run(run())) == [b"200", b"200", b"200", b"400", b"200"]
