"""The short way and uvicorn's own give the same bytes, whatever comes in: plain, odd, mutated, split or smuggled."""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import random
import re
import socket
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving_models as models
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from infra.serving.http import fast_path_check as shortway
from infra.serving.http.asgi import App
from infra.serving.http.routes import Routes
from infra.serving.http.service import Service
from infra.serving.ipc.messages import Release
from infra.serving.models.version import load_version
from infra.serving.options import ServeOptions, Target
from infra.serving.telemetry.board import Board
from infra.serving.telemetry.metrics import Metrics

ROW = np.linspace(-1, 1, 64).round(3).tolist()
BODY = json.dumps({"inputs": {"x": [ROW]}}).encode()
KEY = b"X-API-Key: k3y\r\n"
LAST = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def post(
    body: bytes = BODY, path: bytes = b"/invocations", extra: bytes = KEY, length: bytes | None = None
) -> bytes:
    said = str(len(body)).encode() if length is None else length
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%bContent-Length: %b\r\n\r\n"
    return head % (path, extra, said) + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
HEAD = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + KEY
UNREADABLE = (
    b"HTTP/1.1 400 Bad Request\r\ndate: now\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 30\r\nconnection: close\r\n\r\nInvalid HTTP request received."
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


QUIET_TURNS = 20


def unread(transport: asyncio.Transport) -> int:
    """Bytes that were sent to a transport and that it has not taken yet."""
    if transport.is_closing():
        return 0
    waiting = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(waiting, sys.byteorder)


class Ways:
    """One service with both protocols in front of it, on real sockets."""

    def __init__(self, folder: Path, tmp: Path) -> None:
        (tmp / "keys").write_text("k3y\n")
        loop = asyncio.get_running_loop()
        options = ServeOptions(home=tmp, keys_file=tmp / "keys", max_body=200_000)
        self.service = Service((Target.parse(f"digits={folder}"),), options, loop)
        digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
        release = Release(model="digits", version="7", digest=digest, folder=folder, evidence="local")
        self.service.slots["digits"].swap(load_version(release, 1, 64, 1000))
        board = Board()
        routes = Routes(self.service, board, Metrics(self.service.slots, board, tmp, 0), lambda: None)
        self.app = App(self.service, routes)
        self.config = uvicorn.Config(
            self.app, http="httptools", ws="none", access_log=False, log_config=None, server_header=False
        )
        self.config.load()
        self.short = shortway.protocol_for(self.service)
        assert self.short is not HttpToolsProtocol

    async def talk(
        self, kind: Any, pieces: list[bytes], patient: bool = False, half_closed: bool = False
    ) -> bytes:
        """What a connection answers to these pieces, sent one after another; `patient` hears each one's answer first."""
        state = ServerState()
        state.default_headers = [(b"date", b"now")]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        protocol = kind(self.config, state, {}, loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, theirs)
        answer = bytearray()
        try:
            with contextlib.suppress(
                BrokenPipeError
            ):  # it has ended the connection; what it said is still there
                for piece in pieces:
                    await loop.sock_sendall(ours, piece)
                    await (self._hear(ours, protocol, answer) if patient else asyncio.sleep(0))
            if half_closed:
                ours.shutdown(socket.SHUT_WR)
            await self._hear(ours, protocol, answer)
        except ConnectionError:
            pass
        finally:
            transport.abort()
            ours.close()
        return bytes(answer)

    async def _hear(self, end: socket.socket, protocol: Any, answer: bytearray) -> None:
        """Read until the connection is closed, or nothing has happened for some turns of the loop."""
        quiet = 0
        while quiet < QUIET_TURNS:
            await asyncio.sleep(0)
            try:
                data = end.recv(1 << 20)
            except BlockingIOError:
                busy = self.service.slots["digits"].batcher.busy
                quiet = 0 if busy or unread(protocol.transport) else quiet + 1
            else:
                if not data:
                    return
                answer += data
                quiet = 0

    async def both(self, pieces: list[bytes], patient: bool) -> tuple[bytes, bytes]:
        return await self.talk(self.short, pieces, patient), await self.talk(
            HttpToolsProtocol, pieces, patient
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("m") / "digits", models.mlp(), {"x": [ROW]})


def steady(answer: bytes) -> bytes:
    """Without what changes from one moment to the next: /health's times."""
    return re.sub(rb'seconds_ago":[0-9.]+', b"", answer)


def agree(short: bytes, plain: bytes) -> bool:
    """The same bytes; but where garbage follows a request, uvicorn may end the connection before that is answered,
    while the short way answers what it took, and may then end the connection without a word."""
    if UNREADABLE in plain:
        left, right = (steady(answer).partition(UNREADABLE)[0] for answer in (short, plain))
        return left.startswith(right)
    return steady(short) == steady(plain)


def compared(
    folder: Path, tmp_path: Path, cases: list[tuple[str, list[bytes]]], patient: bool = False
) -> dict[str, bytes]:
    async def run() -> dict[str, bytes]:
        ways, answers = Ways(folder, tmp_path), {}
        for name, pieces in cases:
            left, right = await ways.both(pieces, patient)
            assert agree(left, right), name
            answers[name] = left
        return answers

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvloop.run(run())


def test_both_ways_answer_byte_for_byte_the_same(folder: Path, tmp_path: Path) -> None:
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


def mutated(dice: random.Random, request: bytes, times: int) -> bytes:
    found = bytearray(request)
    for _ in range(times):
        at = dice.randrange(len(found))
        match dice.randrange(4):
            case 0:
                found[at] = dice.randrange(256)
            case 1:
                del found[at : at + dice.randrange(1, 9)]
            case 2:
                found[at:at] = dice.choice((b"\r\n", b"0", b"\x00", b"[", b'"', b": ", b"1e999"))
            case 3:
                found[at:at] = found[: dice.randrange(40)]
        found = found or bytearray(b"x")
    return bytes(found)


def torn(dice: random.Random, whole: bytes) -> list[bytes]:
    """In one piece or in a few."""
    cuts = sorted(dice.sample(range(1, len(whole)), dice.choice((0, 0, 1, 3))))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def statuses(answers: dict[str, bytes]) -> set[bytes]:
    return {match[1] for answer in answers.values() for match in re.finditer(rb"HTTP/1.1 (\d)\d\d", answer)}


def test_both_ways_agree_on_mutated_and_split_requests(folder: Path, tmp_path: Path) -> None:
    dice = random.Random(20261122)
    corpus = list(REQUESTS.values())
    cases = []
    for number in range(400):
        whole = mutated(dice, dice.choice(corpus), dice.choice((0, 1, 1, 2, 5))) + LAST
        cases.append((f"{number}: {whole!r}", torn(dice, whole)))
    answers = compared(folder, tmp_path, cases)
    assert statuses(answers) <= {b"2", b"4", b"1"}, "no mutation may cost more than a 4xx"


OTHER = json.dumps({"inputs": {"x": [ROW, ROW]}}).encode()
AT_BODY = len(post()) - len(BODY)
REPEATED = {
    "the same": [post()],
    "another length": [post(OTHER), post()],
    "head, then body": [post()[:AT_BODY], post()[AT_BODY:]],
    "body in three pieces": [
        post()[: AT_BODY + 9],
        post()[AT_BODY + 9 : AT_BODY + 99],
        post()[AT_BODY + 99 :],
    ],
    "two in one piece": [post() + post(OTHER)],
    "the rest and another": [post()[:-9], post()[-9:] + post(OTHER)],
    "the rest and half of another": [post()[:-9], post()[-9:] + post()[:50], post()[50:]],
    "a body that is no JSON": [post(b"{"), post()],
    "an empty body": [post(b""), post()],
    "leading zeros": [post(length=b"000%d" % len(BODY))],
    "leading plus": [post(length=b"+%d" % len(BODY))],
    "no digits": [post(length=b"")],
    "spaces around": [post(length=b" %d " % len(BODY))],
    "too long a number": [post(length=b"0" * 30 + b"%d" % len(BODY))],
    "too large": [post(length=b"99999999999")],
    "a line more": [post().replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1)],
    "a line more, and as many bytes": [
        post(length=b"%d" % (len(BODY) + 8)).replace(b"\r\n\r\n", b"\r\nX-A: b\r\n\r\n", 1)
    ],
    "a blank line at both ends of a body": [post(b"\r\n" + BODY) + b"\r\n", post(b"\r\n" + BODY)],
    "a blank line that is left over": [post() + b"\r\n", post()],
    "a blank line before": [b"\r\n" + post(), b"\r\n\r\n" + post(), post()],
    "a blank line after": [post() + b"\r\n", post() + b"\r\n\r\n", post(b"\r\n" + BODY) + b"\r\n", post()],
    "another key": [post(extra=b"X-API-Key: no!\r\n"), post()],
    "another way between": [b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n", post()],
    "chunked between": [HEAD + CHUNKED + b"\r\n" + CHUNKS, post()],
    "smuggled": [post(BODY + post(extra=b""))],
    "half a head": [post()[:30]],
}


def test_requests_that_repeat_a_head_are_answered_as_any_other(folder: Path, tmp_path: Path) -> None:
    cases = [
        (
            f"{name}, after {len(first)} bytes",
            [first, *pieces, *([] if name == "half a head" else [post(), LAST])],
        )
        for name, pieces in REPEATED.items()
        for first in (post(), post(OTHER), post(b"\r\n" + BODY), post(BODY + b"\r\n\r\n"))
    ]
    heads_first = [
        (f"{name}, in two", [post()[:AT_BODY], BODY, *pieces]) for name, pieces in REPEATED.items()
    ]
    answers = compared(folder, tmp_path, cases + heads_first, patient=True)
    assert statuses(answers) == {b"2", b"4"}
    plain = answers[f"body in three pieces, after {len(post())} bytes"]
    assert plain.count(b"HTTP/1.1 200") == 4


def test_both_ways_agree_on_a_connection_of_mutated_and_split_requests(folder: Path, tmp_path: Path) -> None:
    dice = random.Random(20261123)
    cases = []
    for number in range(150):
        pieces = [post(dice.choice((BODY, OTHER)))]
        for _ in range(dice.randrange(1, 5)):
            request = post(dice.choice((BODY, OTHER)), length=dice.choice((None, None, None, b"9", b"0700")))
            pieces += torn(dice, mutated(dice, request, dice.choice((0, 0, 1, 2))))
        cases.append((f"{number}: {pieces!r}", [*pieces, LAST]))
    assert statuses(compared(folder, tmp_path, cases, patient=True)) <= {b"2", b"4"}


def test_a_repeated_head_needs_no_parser_until_the_keys_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> list[int]:
        ways = Ways(folder, tmp_path)
        parsed: list[bytes] = []
        plain = HttpToolsProtocol.data_received

        def noted(self: HttpToolsProtocol, data: bytes) -> None:
            parsed.append(data)
            plain(self, data)

        monkeypatch.setattr(HttpToolsProtocol, "data_received", noted)
        answer = await ways.talk(ways.short, [post()] * 5 + [post()[:AT_BODY], BODY], patient=True)
        assert answer.count(b"HTTP/1.1 200") == 6
        counts = [len(parsed)]

        def rotate() -> bytes:
            (tmp_path / "keys").write_text("another\n")
            ways.service.keys.refresh()
            return post()

        class Later(list[bytes]):
            def __iter__(self) -> Any:
                yield from (post(), post())
                yield rotate()

        answer = await ways.talk(ways.short, Later(), patient=True)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"401"]
        return [*counts, len(parsed)]

    assert uvloop.run(run()) == [1, 3]


def test_what_arrives_before_an_answer_waits_its_turn(folder: Path, tmp_path: Path) -> None:
    """The broken one is refused at once, and yet must not overtake the others."""

    async def run() -> bytes:
        ways = Ways(folder, tmp_path)

        class Hasty(ways.short):  # type: ignore[misc, name-defined]
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if data == post(OTHER):
                    super().data_received(post())
                    super().data_received(post(b"{"))

        return await ways.talk(Hasty, [post(), post(OTHER), LAST], patient=True)

    assert re.findall(rb"HTTP/1.1 (\d+)", uvloop.run(run())) == [b"200", b"200", b"200", b"400", b"200"]


@pytest.mark.parametrize(
    ("whole", "half_closed"),
    [
        (post() * 3, True),
        (post() + b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" + post(), True),
        (post() * 3 + b"\x00 is no request\r\n\r\n" + post(), False),
    ],
    ids=["half closed", "half closed, both ways", "garbage behind"],
)
def test_what_was_taken_is_answered_though_nothing_more_can_come(
    folder: Path, tmp_path: Path, whole: bytes, half_closed: bool
) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def run() -> bytes:
        ways = Ways(folder, tmp_path)
        return await ways.talk(ways.short, [whole], half_closed=half_closed)

    assert re.findall(rb"HTTP/1.1 (\d+)", uvloop.run(run())) == [b"200"] * 3


def test_who_reads_nothing_of_an_answer_is_cut_off_and_who_reads_slowly_is_not(
    folder: Path, tmp_path: Path
) -> None:
    async def run() -> list[bool]:
        ways, loop = Ways(folder, tmp_path), asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol: Any = ways.short(ways.config, ServerState(), {}, loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, theirs)
        late = ways.service.options.timeout + 1
        open_after = []
        with ours:
            await loop.sock_sendall(
                ours, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n" + KEY + b"\r\n"
            )
            transport.write(b"x" * 8_000_000)
            for turn in range(1, 4):  # each time later than a client may take to read something
                if turn == 2:
                    while transport.get_write_buffer_size() == protocol.unread:
                        await loop.sock_recv(ours, 1 << 16)
                        await asyncio.sleep(0)
                protocol.sweep(ways.service.clock + turn * late)
                open_after.append(not transport.is_closing())
        return open_after

    assert uvloop.run(run()) == [True, True, False]


def test_metrics_need_a_key_unless_they_are_opened(folder: Path, tmp_path: Path) -> None:
    async def run() -> list[bytes]:
        ways, answers = Ways(folder, tmp_path), []
        for opened in (False, True):
            ways.service.options = ways.service.options.model_copy(update={"open_metrics": opened})
            for path in (b"/metrics", b"/metrics/", b"/status"):
                head = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
                answers.append(await ways.talk(ways.short, [head % path]))
        return answers

    answers = uvloop.run(run())
    assert [answer[9:12] for answer in answers] == [b"401"] * 3 + [b"200", b"401", b"401"]
    assert b'slipway_serving_events_total{event="refusal",model="digits"} 0.0\n' in answers[3], (
        "the first is seen"
    )


def test_another_uvicorn_turns_the_short_way_off_and_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uvicorn, "__version__", "9.9.9")
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    service: Any = None
    with caplog.at_level("WARNING", logger="slipway.serving"):
        assert shortway.protocol_for(service) is HttpToolsProtocol
    assert "short way is off" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(HttpToolsProtocol, "on_header", lambda self, one: None)
    assert "on_header" in str(shortway.misfit())
