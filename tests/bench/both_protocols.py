"""One service behind two protocols, with the fast path and without, asked the same over real sockets."""

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
from collections import Counter
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop
from uvicorn.server import ServerState

from infra.serving.http.asgi import App
from infra.serving.http.fast_path_check import BY_H11, protocol_for
from infra.serving.http.routes import Routes
from infra.serving.http.service import Service
from infra.serving.ipc.messages import Release
from infra.serving.models.lanes import Lane
from infra.serving.models.pairs import Pairs
from infra.serving.models.version import load_version
from infra.serving.options import ServeOptions, Target
from infra.serving.telemetry.board import Board
from infra.serving.telemetry.metrics import Metrics
from tasks.rollout.policy import Margins
from tasks.rollout.record import RolloutRecord

ROW = np.linspace(-1, 1, 64).round(3).tolist()
BODY = json.dumps({"inputs": {"x": [ROW]}}).encode()
TWO_ROWS = json.dumps({"inputs": {"x": [ROW, ROW]}}).encode()
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

QUIET_TURNS = 20


def unread(transport: asyncio.Transport) -> int:
    """Bytes that were sent to a transport and that it has not taken yet."""
    if transport.is_closing():
        return 0
    waiting = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(waiting, sys.byteorder)


class BothProtocols:
    """One service with both protocols in front of it."""

    def __init__(self, folder: Path, tmp: Path, **more: Any) -> None:
        (tmp / "keys").write_text("k3y\n")
        loop = asyncio.get_running_loop()
        options = ServeOptions(home=tmp, keys_file=tmp / "keys", max_body=200_000, **more)
        self.service = Service((Target.parse(f"digits={folder}"),), options, loop)
        digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
        release = Release(model="digits", version="7", digest=digest, folder=folder, evidence="local")
        self.service.slots["digits"].swap(load_version(release, 1, 64, 1000))
        board = Board()
        self.routes = Routes(self.service, board, Metrics(self.service.slots, board, tmp, 0), lambda: None)
        self.app = App(self.service, self.routes)
        self.config = uvicorn.Config(
            self.app, http="httptools", ws="none", access_log=False, log_config=None, server_header=False
        )
        self.config.load()
        self.fast: Any = protocol_for(self.service)
        self.plain: Any = self._without_fast_path(options)
        assert BY_H11 not in (self.fast, self.plain)

    def _without_fast_path(self, options: ServeOptions) -> Any:
        """What `--no-fast-path` answers with."""
        self.service.options = options.model_copy(update={"fast_path": False})
        try:
            return protocol_for(self.service)
        finally:
            self.service.options = options

    async def talk(
        self, protocol_class: Any, pieces: list[bytes], patient: bool = False, half_closed: bool = False
    ) -> bytes:
        """What a connection answers to these pieces, sent one after another; `patient` hears each one's answer first."""
        state = ServerState()
        state.default_headers = [(b"date", b"now")]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        protocol = protocol_class(self.config, state, {}, loop)
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
            self.requests = state.total_requests
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
                if quiet in (1, QUIET_TURNS - 1):  # what is read beside the loop has been read then
                    await asyncio.get_running_loop().run_in_executor(self.service.reader, int)
                quiet = 0 if busy or unread(protocol.transport) else quiet + 1
            else:
                if not data:
                    return
                answer += data
                quiet = 0

    async def both(self, pieces: list[bytes], patient: bool) -> list[tuple[bytes, int, Counter[str]]]:
        """What each way answers, and what it counts on the way."""
        seen = []
        for way in (self.fast, self.plain):
            numbers = self.service.slots["digits"].current.numbers  # type: ignore[union-attr]
            numbers.answers.clear()
            self.service.others.clear()
            answer = await self.talk(way, pieces, patient)
            counted = Counter(numbers.answers) + Counter(self.service.others)
            seen.append((steady(answer), self.requests, counted))
        return seen


def roll_out(protocols: BothProtocols, weight: float, draws: bool) -> None:
    """A lane beside the version, of the same bytes; requests are drawn as pairs, or none is."""
    slot = protocols.service.slots["digits"]
    old: Any = slot.current
    new = load_version(old.release.model_copy(update={"version": "8"}), 1, 64, 1000)
    margin = Margins(slower=9)
    record = RolloutRecord(
        model="digits", run="r", old=7, new=8, old_sha256="", new_sha256="", salt="s", step=2, weight=weight,
        sequence=1, key="x-user-id", margin=margin,
    )  # fmt: skip
    pairs = Pairs(new, old, margin, slot.batcher.aside, lambda *told: print(told), slot.noted)
    pairs.due = pairs.due if draws else inf
    slot.lane = Lane(slot, record, new, pairs)


def steady(answer: bytes) -> bytes:
    """Without what changes from one moment to the next: /health's times, and the ids that the server makes."""
    return re.sub(rb'seconds_ago":[0-9.]+|x-request-id: [0-9a-f]{12}-[0-9a-f]{4,}', b"", answer)


def compared(
    folder: Path, tmp_path: Path, cases: list[tuple[str, list[bytes]]], patient: bool = False
) -> dict[str, bytes]:
    async def run() -> dict[str, bytes]:
        protocols, answers = BothProtocols(folder, tmp_path), {}
        for name, pieces in cases:
            left, right = await protocols.both(pieces, patient)
            assert left == right, name
            answers[name] = left[0]
            said = Counter(re.findall(r"HTTP/1.1 ([2-5]..)", left[0].decode("latin-1")))
            assert not said - left[2], f"{name}: each status that is sent is counted"
        return answers

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvloop.run(run())


def mutated(dice: random.Random, request: bytes, times: int) -> bytes:
    changed = bytearray(request)
    for _ in range(times):
        at = dice.randrange(len(changed))
        match dice.randrange(4):
            case 0:
                changed[at] = dice.randrange(256)
            case 1:
                del changed[at : at + dice.randrange(1, 9)]
            case 2:
                changed[at:at] = dice.choice((b"\r\n", b"0", b"\x00", b"[", b'"', b": ", b"1e999"))
            case 3:
                changed[at:at] = changed[: dice.randrange(40)]
        changed = changed or bytearray(b"x")
    return bytes(changed)


def torn(dice: random.Random, whole: bytes) -> list[bytes]:
    """In one piece or in a few."""
    cuts = sorted(dice.sample(range(1, len(whole)), dice.choice((0, 0, 1, 3))))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def statuses(answers: dict[str, bytes]) -> set[bytes]:
    return {match[1] for answer in answers.values() for match in re.finditer(rb"HTTP/1.1 (\d)\d\d", answer)}
