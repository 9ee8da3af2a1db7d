"""Requests sent on schedule, whatever becomes of those before, and timed from when they were due: coordinated omission is excluded.

`open_loop.py URL RATE SECONDS CONNECTIONS HEADERS < BODY`, headers as JSON. Arrivals are random (Poisson's), and a request is written to the next connection
behind what waits there. Prints JSON; `late_ms` is how late the generator itself was, which is in every latency.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

PATIENCE = 5.0
"""Seconds after the last was due, in which the last must be answered."""


class Lane:
    """A connection, and when what it was asked was due: answers come in that order."""

    def __init__(self, address: tuple[str, int], latencies: list[float]) -> None:
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies = latencies
        self.due: deque[float] = deque()
        self.rest = b""
        self.bad = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, due: float, request: bytes) -> None:
        """TimeoutError where the server takes nothing more."""
        self.due.append(due)
        self.socket.sendall(request)

    def hear(self) -> None:
        data = self.socket.recv(1 << 18)
        now, text = time.perf_counter(), self.rest + data
        if not data:
            raise SystemExit("The server has closed a connection.")
        while (end := text.find(b"\r\n\r\n")) >= 0:
            length = text.index(b"content-length: ") + 16
            whole = end + 4 + int(text[length : text.index(b"\r", length)])
            if len(text) < whole:
                break
            self.bad += not text.startswith(b"HTTP/1.1 200")
            self.latencies.append(now - self.due.popleft())
            text = text[whole:]
        self.rest = text


def offer(
    url: str, rate: float, seconds: float, connections: int, headers: dict[str, str], body: bytes
) -> dict[str, float]:
    """What came of `rate` requests a second for some seconds."""
    parts = urlsplit(url)
    lines = {"Host": parts.netloc, **headers, "Content-Length": str(len(body))}
    front = f"POST {parts.path} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    head, tail = front.encode() + b"X-Request-Id: ", b"\r\n\r\n" + body
    latencies: list[float] = []
    lanes = [Lane((parts.hostname or "", parts.port or 80), latencies) for _ in range(connections)]
    gaps = np.random.default_rng(0).exponential(1 / rate, max(1, int(rate * seconds)))
    begun = time.perf_counter() + 0.05
    dues, late = (begun + np.cumsum(gaps)).tolist(), []
    end = dues[-1] + PATIENCE
    with suppress(TimeoutError):
        while len(latencies) < len(dues) and (now := time.perf_counter()) < end:
            while len(late) < len(dues) and dues[len(late)] <= now:
                due = dues[len(late)]
                lanes[len(late) % connections].ask(due, b"%b%d%b" % (head, len(late), tail))
                now = time.perf_counter()
                late.append(now - due)
                if len(late) % connections == 0:
                    break  # what has come is heard, also where we are late
            until = dues[len(late)] if len(late) < len(dues) else end
            for lane in select.select(lanes, [], [], max(0.0, until - time.perf_counter()))[0]:
                lane.hear()
    times = np.array([*latencies, *[np.inf] * (len(dues) - len(latencies))]) * 1e3  # no answer is the worst
    return {
        "asked_rate": rate,
        "unanswered": len(dues) - len(latencies),
        "bad": sum(lane.bad for lane in lanes),
        "late_ms": float(np.quantile(late, 0.99) * 1e3),
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
        [sys.executable, str(Path(__file__)), *words], input=body, capture_output=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    url, rate, seconds, connections, headers = sys.argv[1:6]
    body = sys.stdin.buffer.read()
    print(json.dumps(offer(url, float(rate), float(seconds), int(connections), json.loads(headers), body)))
