"""Requests sent on schedule, whatever becomes of those before, and timed from when they were due: coordinated omission is excluded.

`open_loop.py URL RATE SECONDS CONNECTIONS HEADERS < BODY`, headers as JSON. Arrivals are random (Poisson's), and a request takes the next free connection: what
finds none waits for it. Prints JSON; `late_ms` is how late the generator itself was, which is in every latency.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

PATIENCE = 5.0
"""Seconds after the last was due, in which the last must be answered."""


class Lane:
    """A connection, which has one request at a time, as clients' have."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = self.freed = 0.0
        self.text = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def heard(self) -> bytes | None:
        """The answer's first bytes once it is whole. Raises ConnectionError where the server has closed."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError
        self.text += data
        end = self.text.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = self.text.index(b"content-length: ") + 16
        if len(self.text) < end + 4 + int(self.text[length : self.text.index(b"\r", length)]):
            return None
        whole, self.text = self.text, b""
        return whole[:12]


class Offer:
    """Requests that are due at their times, over some connections; what finds none free waits, and its time runs."""

    def __init__(self, address: tuple[str, int], connections: int, head: bytes, tail: bytes) -> None:
        self.free = deque(Lane(address) for _ in range(connections))
        self.busy = select.epoll()
        self.lanes = {lane.fileno(): lane for lane in self.free}
        for number in self.lanes:
            self.busy.register(number, select.EPOLLIN)
        self.head, self.tail = head, tail
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.bad = self.closed = 0

    def run(self, dues: list[float]) -> None:
        end = dues[-1] + PATIENCE
        while len(self.latencies) + self.closed < len(dues) and (now := time.perf_counter()) < end:
            sent = len(self.late)
            if sent < len(dues) and self.free and dues[sent] <= now:
                self._ask(self.free.popleft(), dues[sent])
                if len(self.late) % 16:
                    continue  # what has come is heard now and then, also where much is due
            until = dues[len(self.late)] if len(self.late) < len(dues) and self.free else end
            # by itself epoll waits in whole milliseconds
            select.select([self.busy], [], [], max(0.0, until - time.perf_counter()))
            for number, _ in self.busy.poll(0):
                self._hear(self.lanes[number])

    def _ask(self, lane: Lane, due: float) -> None:
        try:
            lane.socket.sendall(b"%b%d%b" % (self.head, len(self.late), self.tail))
        except ConnectionError:
            self._close(lane)
        lane.due, now = due, time.perf_counter()
        self.late.append(now - max(due, lane.freed))

    def _hear(self, lane: Lane) -> None:
        try:
            answer = lane.heard()
        except ConnectionError:
            self._close(lane)
            return
        if answer is not None:
            lane.freed = time.perf_counter()
            self.latencies.append(lane.freed - lane.due)
            self.bad += answer != b"HTTP/1.1 200"
            self.free.append(lane)

    def _close(self, lane: Lane) -> None:
        """What it was asked is never answered, and it is asked nothing more."""
        self.busy.unregister(self.lanes.pop(lane.fileno()))
        lane.socket.close()
        self.closed += 1


def offer(
    url: str, rate: float, seconds: float, connections: int, headers: dict[str, str], body: bytes
) -> dict[str, float]:
    """What came of `rate` requests a second for some seconds."""
    parts = urlsplit(url)
    lines = {"Host": parts.netloc, **headers, "Content-Length": str(len(body))}
    front = f"POST {parts.path} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    head, tail = front.encode() + b"X-Request-Id: ", b"\r\n\r\n" + body
    offered = Offer((parts.hostname or "", parts.port or 80), connections, head, tail)
    gaps = np.random.default_rng(0).exponential(1 / rate, max(1, int(rate * seconds)))
    dues = (time.perf_counter() + 0.05 + np.cumsum(gaps)).tolist()
    offered.run(dues)
    latencies = offered.latencies
    times = np.array([*latencies, *[np.inf] * (len(dues) - len(latencies))]) * 1e3  # no answer is the worst
    return {
        "asked_rate": rate,
        "unanswered": len(dues) - len(latencies),
        "bad": offered.bad,
        "late_ms": float(np.quantile(offered.late, 0.99) * 1e3),
        **{
            f"p{share}_ms": float(np.quantile(times, share / 100, method="higher"))
            for share in (50, 99, 99.9)
        },
    }


def offered(
    url: str, rate: float, seconds: float, connections: int, headers: dict[str, str], body: bytes
) -> dict[str, Any]:
    """The same, from a process of its own."""
    words = [url, str(rate), str(seconds), str(connections), json.dumps(headers)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), *words], input=body, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    url, rate, seconds, connections, headers = sys.argv[1:6]
    body = sys.stdin.buffer.read()
    print(json.dumps(offer(url, float(rate), float(seconds), int(connections), json.loads(headers), body)))
