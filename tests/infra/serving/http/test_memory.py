"""The memory of a worker under hostile clients: flat, however many they are and whichever way they come, and others are answered."""

import gzip
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from both_protocols import BODY, ROW
from serving_process import ServerProcess, wait_for

MEGABYTE = 1024 * 1024
BODY_BYTES = 16 * MEGABYTE
HELD = 64 * MEGABYTE
"""What the server is told to hold for all clients."""
GROWTH = 150 * MEGABYTE
"""Loosely: what is held, the one body that is being read, and what the allocator keeps."""
CLIENTS = 64


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(f"digits={folder}", home=tmp_path, max_bytes=HELD) as server:
        assert server.post("/invocations", BODY).status == 200
        assert server.get("/metrics").status == 200
        yield server


def peak(server: ServerProcess) -> int:
    """The most memory that the worker has had at once."""
    (worker,) = server.children("infra.serving.processes.worker")
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def head(length: int, more: str = "", path: str = "/invocations") -> bytes:
    text = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    return text.encode()


def filled(unit: bytes) -> bytes:
    count = (BODY_BYTES - 100) // len(unit)
    return b'{"inputs":{"x":[%b]}}' % (unit * count + unit.rstrip(b","))


@pytest.mark.slow
def test_a_body_grows_to_no_more_than_its_bytes_whatever_it_holds(server: ServerProcess) -> None:
    before = peak(server)
    for unit in (b"[],", b"{},", b'"a",', b"1,", b"[[[[1]]]],", b'{"a":1},'):
        body = filled(unit)
        assert server.post("/invocations", body).status in (400, 422)
        packed = gzip.compress(body, 1)
        assert server.post("/invocations", packed, {"Content-Encoding": "gzip"}).status in (400, 422)
    text = b'"' + b"a" * 100_000 + b'",' + b'"b",' * 40_000 + b'"c"'
    assert server.post("/invocations", b'{"inputs":{"x":[%b]}}' % text).status == 422
    for nested in (b"[" * 1000 + b"]" * 1000, b'{"a":' * 1000 + b"1" + b"}" * 1000):
        assert server.post("/invocations", nested).status == 400
    assert peak(server) - before < GROWTH


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "X-Way: asgi\r\nContent-Encoding: identity\r\n"], ids=["short", "asgi"])
def test_bodies_that_arrive_are_held_up_to_a_limit_and_small_requests_are_answered_meanwhile(
    server: ServerProcess, more: str
) -> None:
    before, refused = peak(server), []
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(server.address, timeout=20))
            client.sendall(head(BODY_BYTES, more))
            try:
                client.sendall(b" " * (BODY_BYTES - 1000))
            except ConnectionError:
                refused.append(client)
        assert CLIENTS // 2 <= len(refused) < CLIENTS
        assert server.post("/invocations", BODY).status == 200
        assert server.metric("slipway_serving_held_bytes") <= HELD
        assert server.metric('slipway_serving_answers_total{status="503"') >= len(refused)
    assert peak(server) - before < GROWTH
    wait_for(lambda: server.metric("slipway_serving_held_bytes") == 0)


@pytest.mark.slow
def test_packed_bodies_are_unpacked_one_at_a_time(server: ServerProcess) -> None:
    packed = gzip.compress(b'{"inputs":' + b"[1]," * (BODY_BYTES // 4 - 10) + b"[1]}", 9)
    before = peak(server)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(server.address, timeout=60)) for _ in range(CLIENTS)
        ]
        for client in clients:
            client.sendall(head(len(packed), "Content-Encoding: gzip\r\n") + packed)
        statuses = {client.recv(4096)[9:12] for client in clients}
    assert statuses <= {b"422", b"503", b"400"} and statuses != {b"503"}
    assert peak(server) - before < GROWTH
    wait_for(lambda: server.metric("slipway_serving_held_bytes") == 0)


@pytest.mark.slow
def test_answers_that_nobody_takes_are_held_up_to_the_same_limit(server: ServerProcess) -> None:
    rows = np.zeros((4096, 64), "<f4").tobytes()
    about = {
        "name": "x",
        "datatype": "FP32",
        "shape": [4096, 64],
        "parameters": {"binary_data_size": len(rows)},
    }
    text = json.dumps({"inputs": [about]}).encode()
    request = head(
        len(text) + len(rows), f"Inference-Header-Content-Length: {len(text)}\r\n", "/v2/models/digits/infer"
    )
    before = peak(server)
    with ExitStack() as stack:
        for _ in range(4 * CLIENTS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(server.address)
            try:
                client.sendall(request + text + rows)
            except ConnectionError:
                continue
        wait_for(lambda: server.post("/invocations", BODY).status == 200)
        assert server.metric("slipway_serving_held_bytes") <= HELD
    assert peak(server) - before < GROWTH
    wait_for(lambda: server.metric("slipway_serving_held_bytes") == 0)


@pytest.mark.slow
@pytest.mark.parametrize("body", [json.dumps({"inputs": {"x": [ROW] * 2000}}).encode()])
def test_a_long_body_is_answered_as_a_short_one(server: ServerProcess, body: bytes) -> None:
    answer = server.post("/invocations", body)
    first = server.post("/invocations", BODY).json["predictions"]["logits"][0]
    assert answer.status == 200 and len(answer.json["predictions"]["logits"]) == 2000
    assert np.allclose(answer.json["predictions"]["logits"], first, rtol=1e-5, atol=1e-6)
