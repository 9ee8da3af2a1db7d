"""Connections that take too long, or are too many: ended with a reason, and nobody else is held up."""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from both_protocols import BODY, KEY, BothProtocols, post
from serving_process import PATIENCE, ServerProcess, wait_for
from uvicorn.server import ServerState


@pytest.fixture(scope="module")
def limited(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = {"timeout": 5.0, "keep_alive": 5.0, "max_connections": 20}
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


def test_what_is_no_request_is_a_line_of_the_log_like_any_other(limited: ServerProcess) -> None:
    with socket.create_connection(limited.address, timeout=PATIENCE) as odd:
        odd.sendall(b"\x16\x03\x01\r\n\r\n")
        assert odd.recv(1000).startswith(b"HTTP/1.1 400")
    wait_for(lambda: "WARNING [worker 0] Invalid HTTP request" in limited.log.read_text())


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
    ("whole", "half_closed"),
    [
        (post() * 3, True),
        (post() + b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" + post(), True),
        (post() * 3 + b"\x00 is no request\r\n\r\n" + post(), False),
    ],
    ids=["half closed", "half closed, both protocols", "garbage behind"],
)
def test_what_was_taken_is_answered_though_nothing_more_can_come(
    folder: Path, tmp_path: Path, whole: bytes, half_closed: bool
) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def run() -> bytes:
        protocols = BothProtocols(folder, tmp_path)
        return await protocols.talk(protocols.fast, [whole], half_closed=half_closed)

    assert re.findall(rb"HTTP/1.1 (\d+)", uvloop.run(run())) == [b"200"] * 3


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
