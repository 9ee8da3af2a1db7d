"""Connections that take too long, or are too many: ended with a reason, and nobody else is held up."""

import asyncio
import contextlib
import logging
import random
import re
import socket
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop
from both_protocols import BODY, CHUNKED, CHUNKS, HEAD, KEY, LAST, BothProtocols, post, steady
from raw_requests import PING, REQUESTS, VERDICTS
from serving_process import PATIENCE, ServerProcess, wait_for
from uvicorn.server import ServerState

from infra.serving.http.bounded_connection import FIELD
from infra.serving.options import MAX_HEAD


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "no fast path"])
def limited(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    options = {"timeout": 5.0, "keep_alive": 5.0, "max_connections": 20, "fast_path": request.param}
    with ServerProcess(f"digits={folder}", home=tmp_path_factory.mktemp("home"), **options) as server:
        yield server


@pytest.mark.slow
def test_a_request_that_trickles_is_ended_and_the_rest_are_not_held_up(limited: ServerProcess) -> None:
    starts = [
        b"POST /invoc",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:20],
    ]
    with contextlib.ExitStack() as stack:
        trickles = [
            stack.enter_context(socket.create_connection(limited.address, timeout=PATIENCE)) for _ in starts
        ]
        for trickle, start in zip(trickles, starts, strict=True):
            trickle.sendall(start)
        assert limited.post("/invocations", BODY).status == 200
        for trickle in trickles:
            answer = trickle.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408") and b'"code":"too_slow"}' in answer
            assert trickle.recv(1000) == b""


@pytest.mark.slow
def test_idle_connections_are_closed_and_endless_headers_refused(limited: ServerProcess) -> None:
    with socket.create_connection(limited.address, timeout=PATIENCE) as idle:
        assert idle.recv(100) == b""
    with socket.create_connection(limited.address, timeout=PATIENCE) as endless:
        endless.sendall(b"GET /health HTTP/1.1\r\nX: " + b"a" * 70_000)
        answer = endless.recv(1000)
        assert answer.startswith(b"HTTP/1.1 431") and b"head is longer than" in answer


@pytest.mark.slow
def test_what_is_no_request_is_a_line_of_the_log_like_any_other(limited: ServerProcess) -> None:
    with socket.create_connection(limited.address, timeout=PATIENCE) as odd:
        odd.sendall(b"\x16\x03\x01\r\n\r\n")
        assert odd.recv(1000).startswith(b"HTTP/1.1 400")
    wait_for(lambda: "WARNING [worker 0] Invalid HTTP request" in limited.log.read_text())


@pytest.mark.slow
def test_connections_are_bounded(limited: ServerProcess) -> None:
    held = [socket.create_connection(limited.address, timeout=PATIENCE) for _ in range(30)]
    try:
        wait_for(lambda: any(_closed(connection) for connection in held), pause=0.1)
    finally:
        for connection in held:
            connection.close()
    wait_for(lambda: limited.post("/invocations", BODY).status == 200)


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1000).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("whole", "half_closed", "statuses"),
    [
        (post() * 3, True, "200 200 200"),
        (post() + PING + post(), True, "200 200 200"),
        (PING * 1_000, True, " ".join(["200"] * 1_000)),
        (post() * 3 + post()[:-9], True, "200 200 200"),
        (post() + PING + post()[:30], True, "200 200"),
        (post() * 3 + b"\x00 is no request\r\n\r\n" + post(), False, "200 200 200 400"),
        (post() * 2 + HEAD + CHUNKED + b"\r\nno length\r\n" + post(), False, "200 200 400"),
        (post() * 3 + PING[:-2] + b"X: " + b"a" * 70_000, False, "200 200 200 431"),
        (post() * 2 + HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X: " + b"a" * 70_000, False, "200 200 431"),
    ],
    ids=[
        "half closed",
        "half closed, both ways",
        "half closed behind a thousand",
        "half closed in a body",
        "half closed in a head",
        "garbage behind",
        "garbage in a body",
        "an endless head behind",
        "endless trailers behind",
    ],
)
def test_what_was_taken_is_answered_though_nothing_more_can_come(
    folder: Path, tmp_path: Path, whole: bytes, half_closed: bool, statuses: str
) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def run() -> list[bytes]:
        protocols = BothProtocols(folder, tmp_path)
        ways = (protocols.fast, protocols.plain)
        return [await protocols.talk(way, [whole], half_closed=half_closed) for way in ways]

    answers = [" ".join(re.findall(r"HTTP/1.1 (\d+)", answer.decode())) for answer in uvloop.run(run())]
    assert answers == [statuses, statuses]


def test_who_reads_nothing_of_an_answer_is_cut_off_and_who_reads_slowly_is_not(
    folder: Path, tmp_path: Path
) -> None:
    async def run() -> list[bool]:
        protocols, loop = BothProtocols(folder, tmp_path), asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol: Any = protocols.fast(protocols.config, ServerState(), {}, loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, theirs)
        late = protocols.service.options.timeout + 1
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
                protocol.sweep(protocols.service.clock + turn * late)
                open_after.append(not transport.is_closing())
        return open_after

    assert uvloop.run(run()) == [True, True, False]


@pytest.mark.slow
def test_a_body_that_stops_is_ended_whoever_read_its_head(folder: Path, tmp_path: Path) -> None:
    async def run() -> bytes:
        protocols, loop = BothProtocols(folder, tmp_path), asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol: Any = protocols.fast(protocols.config, ServerState(), {}, loop)
        await loop.connect_accepted_socket(lambda: protocol, theirs)
        with ours:
            for piece in (post(), post(), post()[:-9]):
                await loop.sock_sendall(ours, piece)
                await asyncio.sleep(0.1)
                answer = await loop.sock_recv(ours, 1 << 16) if piece == post() else b""
            protocol.sweep(protocols.service.clock + protocols.service.options.timeout + 1)
            answer = await loop.sock_recv(ours, 1 << 16)
        return answer

    assert uvloop.run(run()).startswith(b"HTTP/1.1 408")


@pytest.mark.slow
def test_the_longest_head_is_the_same_however_it_is_split(folder: Path, tmp_path: Path) -> None:
    """To the byte, in the target, in a header, in trailers, and in what a short head costs beside its bytes."""

    dice = random.Random(20261126)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def run() -> None:
        protocols = BothProtocols(folder, tmp_path)
        for padded, over in product((in_target, in_header, in_many, in_trailers), (0, 1)):
            whole = padded(over) + LAST
            for _ in range(8):
                cuts = sorted(dice.sample(range(1, len(whole)), dice.randrange(4)))
                pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
                answer = await protocols.talk(protocols.plain, pieces)
                status = b"431" if over else b"200"
                assert answer.startswith(b"HTTP/1.1 " + status), (padded.__name__, over, cuts, answer[:200])

    uvloop.run(run())


def cost(url: bytes, *fields: bytes) -> int:
    return FIELD + len(url) + sum(len(name_and_value) + FIELD for name_and_value in fields)


def in_target(over: int) -> bytes:
    left = MAX_HEAD - cost(b"/ping?", b"Hostlocalhost") + over
    return PING.replace(b"/ping", b"/ping?" + b"a" * left)


def in_header(over: int) -> bytes:
    left = MAX_HEAD - cost(b"/ping", b"Hostlocalhost", b"X") + over
    return PING.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * left + b"\r\n\r\n")


def in_many(over: int) -> bytes:
    count, left = divmod(MAX_HEAD - cost(b"/ping", b"Hostlocalhost"), FIELD + 1)
    more = b"X:\r\n" * (count - 1) + b"X: " + b"a" * (left + over) + b"\r\n"
    return PING.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n")


def in_trailers(over: int) -> bytes:
    trailer = b"X: " + b"a" * (MAX_HEAD - FIELD - 1 + over) + b"\r\n"
    return HEAD + CHUNKED + b"\r\n" + CHUNKS[:-2] + trailer + b"\r\n"


TRAILERS = b"X-A: " + b"a" * 4_000 + b"\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("fast_path", [True, False])
def test_megabytes_of_trailers_are_refused_and_cost_no_memory(
    folder: Path, tmp_path: Path, fast_path: bool
) -> None:
    (tmp_path / "keys").write_text("k3y\n")
    options = {"fast_path": fast_path, "keys_file": tmp_path / "keys"}
    with ServerProcess(f"digits={folder}", home=tmp_path / "home", **options) as server:
        (worker,) = server.children("infra.serving.processes.worker")
        process = psutil.Process(worker)
        before = process.memory_info().rss
        for head in (HEAD, HEAD.replace(KEY, b"")):
            for trailers in (TRAILERS * 5_000, b"X-A: " + b"a" * 20_000_000):
                with socket.create_connection(server.address, timeout=PATIENCE) as connection:
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(head + CHUNKED + b"\r\n" + CHUNKS[:-2] + trailers)
                        assert connection.recv(1000).startswith((b"HTTP/1.1 431", b"HTTP/1.1 401"))
        assert process.memory_info().rss < before + 20_000_000
        assert server.post("/invocations", BODY, {"X-API-Key": "k3y"}).status == 200


@pytest.mark.slow
def test_a_server_without_the_fast_path_has_the_same_limits_and_counts_the_same(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("k3y\n")
    seen = []
    for fast_path in (True, False):
        options = {"fast_path": fast_path, "keys_file": tmp_path / "keys", "max_body": 200_000}
        answers = {}
        with ServerProcess(f"digits={folder}", home=tmp_path / str(fast_path), **options) as server:
            for name, request in [*REQUESTS.items(), *((name, case[0]) for name, case in VERDICTS.items())]:
                with socket.create_connection(server.address, timeout=PATIENCE) as connection:
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(request + LAST)
                    answers[name] = re.sub(rb"date: [^\r]+", b"", steady(heard(connection)))
            metrics = server.get("/metrics", **{"X-API-Key": "k3y"}).body.decode()
        counts = sorted(re.findall(r"^slipway_serving_requests_total.*$", metrics, re.M))
        seen.append((answers, counts))
    fast, plain = seen
    assert {name for name in fast[0] if fast[0][name] != plain[0][name]} == set()
    assert fast[1] == plain[1] and len(fast[1]) > 1


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            answer += data
    return answer
