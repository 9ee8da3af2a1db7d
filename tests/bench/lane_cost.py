"""CPU of a worker a request, all of its threads, over real sockets, 64 connections of wrk's: of the parts of a rollout, which take turns of 0.3 s.

`lane_cost.py FOLDER [SECONDS]`: a model's folder. The order of each round is drawn, so that what else the machine does hits all alike.
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from math import inf
from pathlib import Path
from typing import NamedTuple

import bench_serving
import uvloop
from both_protocols import BODY, BothProtocols, roll_out
from uvicorn.server import ServerState

from infra.serving.models.lanes import Lane
from infra.serving.models.pairs import Pairs

STATES = {
    "no rollout": None,
    "one in which nobody is routed or compared": (0.0, None),
    "pairs alone": (0.0, 0),
    "10% without pairs": (0.1, None),
    "10% with the first pairs": (0.1, 0),
    "10% with pairs after ten minutes": (0.1, 16_000),
}
"""Of a rollout its weight, and how many pairs were there before, if there are any."""

WARM, TURN = 0.02, 0.3


class Turn(NamedTuple):
    """Seconds of CPU and of the clock, rows answered, pairs; batches, requests and the seconds that these took in all, of either lane."""

    cpu: float
    wall: float
    rows: int
    pairs: int
    old: int
    new: int
    old_requests: int
    new_requests: int
    old_seconds: float
    new_seconds: float


async def run(folder: Path, seconds: int) -> None:
    protocols, loop = (
        BothProtocols(folder, Path(tempfile.mkdtemp(prefix="lane-cost-"))),
        asyncio.get_running_loop(),
    )
    roll_out(protocols, weight=0.1, draws=True)
    slot = protocols.service.slots["digits"]
    first, old = slot.lane, slot.current
    assert first is not None and first.current is not None and old is not None
    new, margin = first.current, first.pairs.margin

    def lane_of(weight: float, before: int | None) -> Lane:
        pairs = Pairs(new, old, margin, slot.batcher.aside, lambda _, why: print(why), slot.noted)
        pairs.counted["pairs"] = pairs.counted["timed"] = before or 0
        pairs.due = inf if before is None else pairs.due
        return Lane(slot, first.record.model_copy(update={"weight": weight}), new, pairs)

    lanes = {name: how and lane_of(*how) for name, how in STATES.items()}

    def now(lane: Lane | None) -> Turn:
        both = old.numbers, new.numbers
        batches = [sum(each.batches.counts) for each in both]
        requests = [sum(each.latency.counts) for each in both]
        took = [each.latency.total for each in both]
        pairs = 0 if lane is None else lane.pairs.ended
        rows = sum(each.rows for each in both)
        return Turn(time.process_time(), time.monotonic(), rows, pairs, *batches, *requests, *took)

    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    server = await loop.create_server(
        lambda: protocols.fast(protocols.config, state, {}, loop), "127.0.0.1", 0
    )
    bench_serving.KEY = {"X-API-Key": "k3y"}
    script = bench_serving.lua(BODY, {"Content-Type": "application/json"}, alike=True, name="lane-cost")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/invocations"
    load = ["-t1", "-c64", f"-d{seconds}s", "-s", str(script), url]
    wrk = await asyncio.create_subprocess_exec("wrk", *load, stdout=asyncio.subprocess.DEVNULL)
    turns: dict[str, list[Turn]] = {name: [] for name in STATES}
    end = time.monotonic() + seconds - 3
    await asyncio.sleep(1)
    while time.monotonic() < end:
        for name in random.sample([*STATES], len(STATES)):
            slot.lane = lane = lanes[name]
            if lane is not None:  # nothing is saved up while others have their turn
                lane.pairs.due = max(lane.pairs.due, time.perf_counter())
            await asyncio.sleep(WARM)
            before = now(slot.lane)
            await asyncio.sleep(TURN)
            turns[name].append(Turn(*(b - a for a, b in zip(before, now(slot.lane), strict=True))))
    await wrk.wait()
    usual = [turn.cpu / turn.rows for turn in turns["no rollout"]]
    for name, each in turns.items():
        cpu, wall, rows, pairs, *batches, a, b, old_took, new_took = (
            sum(parts) for parts in zip(*each, strict=True)
        )
        low, middle, high = statistics.quantiles(
            [turn.cpu / turn.rows / alone for turn, alone in zip(each, usual, strict=True)]
        )
        print(
            f"{name:44}{1e6 * cpu / rows:5.1f} µs, ratio {middle:.2f} ({low:.2f} to {high:.2f}); {rows / wall:.0f} requests/s, {cpu / wall:.0%} CPU, "
            f"batches of 1,000 {batches[0] / rows * 1e3:.0f} and {batches[1] / rows * 1e3:.0f}, {pairs / wall:.0f} pairs/s, "
            f"{1e3 * old_took / a:.2f} and {1e3 * new_took / max(b, 1):.2f} ms"
        )
    print("load of this machine", os.getloadavg())


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60))
