"""Where a request's CPU time goes: each stage by itself without sockets, then a whole request over sockets, and what the kernel has of it.

`bench_serving_stages.py [--seconds 5] [--write]`: the MLP and the CNN, 64 connections, an id each. A stage is run for 64 requests in one turn
of the loop; over sockets fewer may come in one turn, so the model is run again at the batch that they came to there.
"""

import asyncio
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from bench_serving import WORKS, Work, bare, body_of, lua, ours, rows_of, wrk
from both_protocols import KEY, BothProtocols, post
from figures import published, table
from request_cost import CONNECTIONS, Transport
from serving_models import save
from serving_peers import HOME, tree
from uvicorn.server import ServerState

from infra.serving.codecs.mlflow_scoring import NUMBER
from infra.serving.models.execution import Done, rendered
from infra.serving.wire.tensors import all_finite

TITLES = ("tiny MLP, JSON row", "small CNN, JSON row")
ROUNDS = 41


def cost(stage: Callable[[], object], requests: int) -> float:
    """CPU microseconds a request: what a fifth of the rounds take no more than, since other work only ever adds."""
    costs = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        for _ in range(10):
            stage()
        costs.append((time.thread_time() - begun) / requests / 10 * 1e6)
    return sorted(costs)[ROUNDS // 5]


class Heard(Transport):
    """Takes every connection's answers, and says when the last of a turn is there."""

    def __init__(self) -> None:
        self.all = asyncio.Event()
        self.left = 0

    def write(self, data: bytes) -> None:
        self.left -= 1
        if not self.left:
            self.all.set()


async def stages(folder: Path, body: bytes) -> dict[str, float]:
    """Microseconds a request of what is done with it inside of the process."""
    protocols = BothProtocols(folder, Path(tempfile.mkdtemp(prefix="stages-")), max_wait=60)
    slot = protocols.service.slots["digits"]
    loaded: Any = slot.current
    connections: list[Any] = []
    heard = Heard()
    for _ in range(CONNECTIONS):
        state = ServerState()
        state.default_headers = [(b"date", b"now")]
        connections.append(protocols.fast(protocols.config, state, {}, asyncio.get_running_loop()))
        connections[-1].connection_made(heard)
    numbers = iter(range(10**9))

    whole = []
    for _ in range(ROUNDS + 5):  # the first of them make templates and outlines
        extras = [KEY + b"X-Request-Id: %d\r\n" % next(numbers) for _ in connections]
        requests = [post(body, extra=extra) for extra in extras]
        heard.left = CONNECTIONS
        heard.all.clear()
        begun = time.process_time()
        for connection, request in zip(connections, requests, strict=True):
            connection.data_received(request)
        arrived = time.process_time()
        queued = list(slot.batcher.requests)
        await heard.all.wait()
        whole.append((time.process_time() - begun, arrived - begun))
        await asyncio.sleep(0.001)
    took, arriving = (sorted(part)[ROUNDS // 5] / CONNECTIONS * 1e6 for part in zip(*whole[5:], strict=True))
    heads = [post(body, extra=KEY + b"X-Request-Id: %d\r\n" % number) for number in range(CONNECTIONS)]
    template, rows = connections[0].template, [request.rows for request in queued]
    feeds = loaded.assemble(rows)
    outputs = loaded.run(rows)
    done = Done(queued, loaded, outputs, 0.0)
    answers = rendered(done).answers

    def send() -> None:
        for connection, (status, heading, text) in zip(connections, answers, strict=True):
            connection.reply.answer(status, heading, text)

    read = cost(partial(loaded.invocations.at_once, body), 1)
    parsed = {
        "head, by its template": cost(lambda: [template.body_of(head) for head in heads], CONNECTIONS),
        "JSON: its outline": cost(lambda: [body.translate(None, NUMBER) for _ in heads], CONNECTIONS),
        "JSON: its numbers": read,
    }
    parsed["JSON: its numbers"] -= parsed["JSON: its outline"]
    model = {
        "rows put together": cost(lambda: loaded.assemble(rows), CONNECTIONS),
        "the model (ONNX Runtime, 64 rows)": cost(
            lambda: loaded.running.session.run(None, feeds), CONNECTIONS
        ),
        "every number finite": cost(
            lambda: (all_finite([*feeds.values()]), all_finite(outputs.arrays)), CONNECTIONS
        ),
        "answers written": cost(lambda: rendered(done), CONNECTIONS),
        "answers handed to the loop": cost(send, CONNECTIONS),
    }
    said = parsed | {"protocol, checks, queue": arriving - sum(parsed.values())} | model
    return said | {
        "the rest: the turn, counters, the thread, cold caches": max(0.0, took - sum(said.values())),
        "without sockets": took,
    }


def over_sockets(folder: Path, work: Work, seconds: int) -> Iterator[tuple[str, float]]:
    """Microseconds a request of a worker over sockets, and how many rows ran at once."""
    body, headers = body_of(work)
    script = lua(body, headers)
    peer = ours(folder)
    try:
        assert peer.wait(body, headers | {"X-API-Key": "bench"}), "the server does not answer"
        wrk(peer, CONNECTIONS, script)
        before, batches = _times(peer.process.pid), _batches(peer.url)
        turn = wrk(peer, CONNECTIONS, script, seconds)
        user, system = (
            (now - then) / turn["count"] * 1e4
            for now, then in zip(_times(peer.process.pid), before, strict=True)
        )
        rows, count = (now - then for now, then in zip(_batches(peer.url), batches, strict=True))
    finally:
        peer.stop()
    yield "over sockets", user + system
    yield "of which the kernel: receive, send, epoll", system
    yield "rows that ran at once, on average", rows / count
    yield "the model at that many rows", bare(folder, work, max(1, round(rows / count)))


def _times(pid: int) -> tuple[int, int]:
    """Hundredths of a second that all processes have taken, by themselves and in the kernel."""
    stats = [Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split() for each in tree(pid)]
    return sum(int(fields[11]) for fields in stats), sum(int(fields[12]) for fields in stats)


def _batches(url: str) -> tuple[float, float]:
    request = urllib.request.Request(url.replace("/invocations", "/metrics"), headers={"X-API-Key": "bench"})
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    found = [
        re.search(rf"^slipway_serving_batch_rows_{word}\S* (\S+)$", text, re.M) for word in ("sum", "count")
    ]
    rows, count = (float(match[1]) if match else 0.0 for match in found)
    return rows, count


def main() -> None:
    seconds = int(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 5
    HOME.mkdir(parents=True, exist_ok=True)
    columns: dict[str, dict[str, float]] = {}
    with published("serving stages", "uvicorn", "uvloop", "onnxruntime", "orjson", "pysimdjson") as lines:
        for work in (work for work in WORKS if work.title in TITLES):
            folder = HOME / "models" / work.name
            shutil.rmtree(folder, ignore_errors=True)
            save(folder, work.model(), {work.name: rows_of(work.name, work.shape, 1).tolist()})
            found = uvloop.run(stages(folder, body_of(work)[0]))
            columns[work.title] = found | dict(over_sockets(folder, work, seconds))
        names = list(columns[TITLES[0]])
        rows = [[name, *(f"{column[name]:.1f}" for column in columns.values())] for name in names]
        lines += table(["CPU µs a request", *columns], rows)


if __name__ == "__main__":
    main()
