"""Alias moves under load, cold start from the cache, and memory: what following costs, with a real MLflow over HTTP."""

import json
import multiprocessing
import os
import shutil
import statistics
import sys
import threading
import time
from bisect import bisect
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_serving
import serving_models as models
from figures import listed, published
from serving_peers import HOME, cpu_seconds, free_port, tree
from serving_process import ServerProcess, move, publish, wait_for

sys.path.append(str(Path(__file__).parents[1] / "support"))

from mlflow_process import MlflowProcess

MOVES, REQUESTS, POLL = 100, 100_000, 0.5
MANY = 1_000_000
LONGEST = 240.0
NEAR = 0.1
BODY = json.dumps({"inputs": {"x": [[0.5] * 64]}}).encode()
JSON = {"Content-Type": "application/json"}


class Client(threading.Thread):
    """One connection, one request after another: times, versions and failures."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.address = address
        self.seen: list[tuple[float, float, str]] = []
        self.failed = 0
        self.mixed = 0
        self.going = True
        self.outputs: dict[str, bytes] = {}

    @property
    def found(self) -> tuple[list[tuple[float, float, str]], int, int]:
        return self.seen, self.failed, self.mixed

    def run(self) -> None:
        connection = HTTPConnection(*self.address, timeout=30)
        while self.going:
            start = time.perf_counter()
            try:
                connection.request("POST", "/invocations", BODY, JSON)
                answer = connection.getresponse()
                content = answer.read()
            except OSError:
                self.failed += 1
                connection.close()
                continue
            version = str(answer.headers["X-Model-Version"])
            self.failed += answer.status != 200
            self.mixed += self.outputs.setdefault(version, content[:40]) != content[:40]
            self.seen.append((time.perf_counter(), time.perf_counter() - start, version))
        connection.close()


def ask_on_and_on(address: tuple[str, int], end: Connection, asked: Any) -> None:
    """Four clients in a process of their own, so that whoever moves the alias does not hold them up, until told to end."""
    clients = [Client(address) for _ in range(4)]
    for client in clients:
        client.start()
    while not end.poll(0.1):
        asked.value = sum(len(client.seen) for client in clients)
    for client in clients:
        client.going = False
        client.join()
    end.send([client.found for client in clients])


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def swaps(server: ServerProcess, uri: str, versions: list[str]) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    end, theirs = spawn.Pipe()
    asked = spawn.Value("L", 0, lock=False)
    process = spawn.Process(target=ask_on_and_on, args=(server.address, theirs, asked))
    process.start()
    delays: list[float] = []
    moments: list[float] = []
    latest = time.perf_counter() + LONGEST
    while len(moments) < MOVES or asked.value < REQUESTS:
        if time.perf_counter() > latest:
            print(f"stopped after {LONGEST:.0f} s", flush=True)
            break
        version = versions[(len(moments) + 1) % 2]
        move(uri, "swap", "champion", version)
        moved = time.perf_counter()
        wait_for(lambda: server.post("/invocations", BODY).version == version, pause=0.005)  # noqa: B023
        delays.append(time.perf_counter() - moved)
        moments.append(time.perf_counter())
        time.sleep(0.3)
    end.send(None)
    found = end.recv()
    process.join()
    seen = [item for each, _, _ in found for item in each]
    near, far = [], []
    for at, took, _ in seen:
        place = bisect(moments, at)
        beside = moments[max(0, place - 1) : place + 1]
        (near if any(abs(at - moment) < NEAR for moment in beside) else far).append(took)
    return {
        "moves": len(moments),
        "requests": len(seen),
        "failed": sum(failed for _, failed, _ in found),
        "answered by another version than named": sum(mixed for _, _, mixed in found),
        "new version answers after, median s": statistics.median(delays),
        "new version answers after, most s": max(delays),
        "p99 ms, within 0.1 s of a move": percentile(near, 0.99) * 1e3,
        "p99 ms, otherwise": percentile(far, 0.99) * 1e3,
        "p99 at a move, times steady": percentile(near, 0.99) / percentile(far, 0.99),
    }


def memory(server: ServerProcess) -> dict[str, float]:
    """Proportional set size in MB: what each process really takes."""
    sizes = {}
    for pid in tree(server.process.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        name = words[2].decode() if len(words) > 2 else str(pid)
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes[f"memory MB, {name}"] = (
            int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 1024
        )
    return {**sizes, "memory MB, all": sum(sizes.values())}


def flat(server: ServerProcess) -> dict[str, float]:
    """What all processes take before and after a million requests."""
    script = bench_serving.lua(BODY, JSON)
    peer = SimpleNamespace(process=server.process, url=f"{server.url}/invocations")
    bench_serving.wrk(peer, 64, script, 5)
    before, asked = memory(server)["memory MB, all"], 0.0
    end = time.perf_counter() + LONGEST
    while asked < MANY and time.perf_counter() < end:
        asked += bench_serving.wrk(peer, 64, script, 10)["count"]
    after = memory(server)["memory MB, all"]
    return {"requests for memory": asked, "memory MB before": before, "memory MB after": after}


def cold(home: Path, uri: str, **options: object) -> tuple[float, float]:
    """Seconds from starting the process to its first answer, from the cache; and of CPU."""
    port = free_port()
    start = time.perf_counter()
    server = ServerProcess("swap@champion", home=home, ready=False, port=port, tracking_uri=uri, **options)
    server.url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: first_answer(server), pause=0.005)
        return time.perf_counter() - start, cpu_seconds(server.process.pid)
    finally:
        server.stop()


def first_answer(server: ServerProcess) -> bool:
    try:
        return server.post("/invocations", BODY).status == 200
    except OSError:
        return False


def main() -> None:
    folder = HOME / "swap"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    home = folder / "home"
    os.environ["SLIPWAY_HOME"] = str(home)
    figures: dict[str, float] = {}
    with (
        published("serving swap", "uvicorn", "onnxruntime", "mlflow") as lines,
        MlflowProcess(folder) as registry,
    ):
        uri = registry.url
        made = [
            models.save(folder / f"m{seed}", models.mlp(seed=seed), {"x": [[0.5] * 64]}) for seed in (1, 2)
        ]
        for each in made:
            models.seal(each, "swap")
        versions = [
            publish(uri, "swap", each, [alias])
            for each, alias in zip(made, ("champion", "challenger"), strict=True)
        ]
        options = {"tracking_uri": uri, "poll": POLL, "log_level": "error"}
        with ServerProcess("swap@champion", home=home, **options) as server:
            wait_for(lambda: len(list((home / "serving" / "cache").glob("*.inspected"))) == 2)
            show(figures, swaps(server, uri, versions))
            show(figures, memory(server))
            show(figures, flat(server))
        starts = [cold(home, uri, log_level="error") for _ in range(5)]
        wall, cpu = (statistics.median(column) for column in zip(*starts, strict=True))
        show(figures, {"cold start s, signature checked": wall, "cold start, CPU s": cpu})
        lines += listed(figures)


def show(figures: dict[str, float], more: dict[str, float]) -> None:
    """Print figures as they come, and keep them all."""
    for name, value in more.items():
        print(f"{name:50}{value:>12.3f}", file=sys.stderr, flush=True)
    figures |= more


if __name__ == "__main__":
    main()
