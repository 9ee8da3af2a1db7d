"""CPU microseconds of the fast path a request, without sockets: 64 connections that ask in one turn of the loop. Prints the least.

`request_cost.py FOLDER [ids] [rollout|shadow|lane]`: a model's folder; with an id each; with a rollout at 10%, or its lanes without pairs.
"""

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from both_protocols import KEY, BothProtocols, post
from uvicorn.server import ServerState

CONNECTIONS, TURNS, ROUNDS = 64, 40, 60


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


def roll_out(protocols: BothProtocols, folder: Path, pairs: bool) -> None:
    """A lane of 10% beside the version, of the same bytes."""
    from infra.serving.models.lanes import Lane
    from infra.serving.models.pairs import Pairs
    from infra.serving.models.version import load_version
    from tasks.rollout.policy import Margins
    from tasks.rollout.record import RolloutRecord

    slot = protocols.service.slots["digits"]
    old: Any = slot.current
    new = load_version(old.release.model_copy(update={"version": "8"}), 1, 64, 1000)
    margin = Margins(slower=9)
    record = RolloutRecord(
        model="digits", run="r", old=7, new=8, old_sha256="", new_sha256="", salt="s", step=2, weight=0.1,
        sequence=1, key="x-user-id", margin=margin,
    )  # fmt: skip
    compared = Pairs(new, old, margin, slot.batcher.aside, lambda *told: print(told), slot.noted)
    compared.over = not pairs
    slot.lane = Lane(slot, record, new, compared)


async def run(folder: Path, words: list[str]) -> None:
    protocols = BothProtocols(folder, Path(tempfile.mkdtemp(prefix="request-cost-")))
    if "rollout" in words or "lane" in words:
        roll_out(protocols, folder, "rollout" in words)
    connections = []
    for _ in range(CONNECTIONS):
        state = ServerState()
        state.default_headers = [(b"date", b"now")]
        connections.append(protocols.fast(protocols.config, state, {}, asyncio.get_running_loop()))
        connections[-1].connection_made(Transport())
    extras = [KEY + (b"X-Request-Id: %d\r\n" % number if "ids" in words else b"") for number in range(640)]
    requests = [post(extra=extra) for extra in extras]
    costs = []
    gc.disable()
    for _ in range(ROUNDS):
        start = time.process_time()
        for turn in range(TURNS):
            for number, connection in enumerate(connections):
                connection.data_received(requests[(turn * CONNECTIONS + number) % len(requests)])
            while protocols.service.slots["digits"].batcher.busy:
                await asyncio.sleep(0)
        costs.append((time.process_time() - start) / TURNS / CONNECTIONS * 1e6)
    total = sum(costs) / len(costs)
    print(f"{min(costs):.3f} {sorted(costs)[len(costs) // 4]:.3f} {total:.3f}")


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), sys.argv[2:]))
