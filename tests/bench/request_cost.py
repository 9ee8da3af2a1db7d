"""CPU microseconds of the fast path a request, without sockets: 64 connections that ask in one turn of the loop.

`request_cost.py FOLDER [ids] [rollout|lane]`: a model's folder; with an id each; with a rollout at 10%, or its lanes without pairs.
Prints what 2% and 20% of the turns take no more than, and their mean: what else the machine does is in the mean.
"""

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from both_protocols import KEY, BothProtocols, post, roll_out
from uvicorn.server import ServerState

CONNECTIONS, SECONDS = 64, 4


class Transport:
    """Takes what is written, and forgets it."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: object) -> None: ...


async def run(folder: Path, words: list[str]) -> None:
    protocols = BothProtocols(folder, Path(tempfile.mkdtemp(prefix="request-cost-")))
    if "rollout" in words or "lane" in words:
        roll_out(protocols, weight=0.1, draws="rollout" in words)
    connections = []
    for _ in range(CONNECTIONS):
        state = ServerState()
        state.default_headers = [(b"date", b"now")]
        connections.append(protocols.fast(protocols.config, state, {}, asyncio.get_running_loop()))
        connections[-1].connection_made(Transport())
    extras = [KEY + (b"X-Request-Id: %d\r\n" % number if "ids" in words else b"") for number in range(640)]
    requests = [post(extra=extra) for extra in extras]
    slot, costs = protocols.service.slots["digits"], list[float]()

    def busy() -> bool:
        return slot.batcher.busy or (slot.lane is not None and slot.lane.batcher.busy)

    gc.disable()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        start = time.thread_time()
        for connection in connections:
            connection.data_received(requests[len(costs) % len(requests)])
        while busy():
            await asyncio.sleep(0)
        costs.append((time.thread_time() - start) / CONNECTIONS * 1e6)
    costs.sort()
    print(f"{costs[len(costs) // 50]:.3f} {costs[len(costs) // 5]:.3f} {sum(costs) / len(costs):.3f}")


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), sys.argv[2:]))
