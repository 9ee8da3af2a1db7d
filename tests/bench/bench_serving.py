"""Requests a second and CPU a request: our server, the same without the fast path, and peers, in turns on this machine.

`bench_serving.py [--rounds 9] [--write] [WORDS]`: the rows whose title has one of the words. A row is printed when it is done; `--write` puts the tables into
docs/benchmarks.md. Heads differ from request to request, by an id and a trace each, as behind any proxy; where all are alike, the row says so.
"""

import argparse
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import serving_models as models
from figures import WRITES, loaded, machine, surroundings, write
from open_loop import offered
from serving_peers import HOME, Peer, cpu_seconds, free_port, halted, peers
from serving_table import paired, rates

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, SECONDS = 9, 1
SHARES = (0.25, 0.5, 0.75)
"""Of what it does when it is asked without pause; so much is offered by schedule."""
LIBRARIES = ("uvicorn", "onnxruntime", "mlflow", "fastapi", "numpy")
OURS, BY_ASGI = "slipway", "slipway by ASGI"


class Work(NamedTuple):
    """One row of the table: a model, how it is asked, and who else is asked the same."""

    title: str
    model: Any
    name: str
    shape: tuple[int, ...]
    connections: int
    peers: tuple[str, ...]
    rows: int = 1
    binary: bool = False
    alike: bool = False
    """All heads, which no client sends that has request ids."""


ALL = ("mlflow", "fastapi", "litserve", "bentoml", "coglet")
WORKS = (
    Work("tiny MLP, JSON row", models.mlp, "x", (64,), 64, (BY_ASGI, "nothing", *ALL)),
    Work("tiny MLP, JSON row, heads alike", models.mlp, "x", (64,), 64, (BY_ASGI,), alike=True),
    Work("small CNN, JSON row", models.cnn, "image", (1, 28, 28), 64, ALL),
    Work("transformer 10.6M, JSON row", models.transformer, "tokens", (32,), 16, ("mlflow", "fastapi")),
    Work("tiny MLP, 64 rows, JSON", models.mlp, "x", (64,), 16, ("mlflow", "fastapi"), rows=64),
    Work("tiny MLP, 64 rows, binary", models.mlp, "x", (64,), 16, (), rows=64, binary=True),
)


class Bound(NamedTuple):
    """A figure to reach: at least `wanted`, or at most when it is a cost."""

    title: str
    what: str
    value: float
    wanted: float
    cost: bool = False

    @property
    def reached(self) -> bool:
        return self.value <= self.wanted if self.cost else self.value >= self.wanted


def rows_of(name: str, shape: tuple[int, ...], count: int) -> Any:
    """Numbers as a client would write them: four decimals."""
    random = np.random.default_rng(0)
    if name == "tokens":
        return random.integers(0, 256, (count, *shape))
    return random.random((count, *shape)).round(4)


def body_of(work: Work) -> tuple[bytes, dict[str, str]]:
    """The request's body and headers."""
    rows = rows_of(work.name, work.shape, work.rows)
    if not work.binary:
        return json.dumps({"inputs": {work.name: rows.tolist()}}).encode(), {
            "Content-Type": "application/json"
        }
    data = rows.astype(np.float32).tobytes()
    tensor = {"name": work.name, "shape": list(rows.shape), "datatype": "FP32"}
    inputs = [{**tensor, "parameters": {"binary_data_size": len(data)}}]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return head + data, {"Content-Type": "application/octet-stream", **length}


VARIED = """
wrk.headers["X-Request-Id"] = "AN-ID"
wrk.headers["Traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-AN-ID-01"
local count, first, second, last = 0, "", "", ""
function init()
  local text = wrk.format()
  local a = text:find("AN-ID", 1, true)
  local b = text:find("AN-ID", a + 5, true)
  first, second, last = text:sub(1, a - 1), text:sub(a + 5, b - 1), text:sub(b + 5)
end
function request()
  count = count + 1
  local id = string.format("%016x", count)
  return first .. id .. second .. id .. last
end
"""
KEY = {"X-API-Key": "bench"}


def lua(body: bytes, headers: dict[str, str], alike: bool = False, name: str = "post") -> Path:
    """What wrk is to send: with an id and a trace of its own each time, as what stands behind a proxy gets it, or always the same."""
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / f"{name}.body").write_bytes(body)
    lines = ['wrk.method = "POST"', f'wrk.body = io.open("{HOME / name}.body", "rb"):read("*a")']
    lines += [f'wrk.headers["{header}"] = "{value}"' for header, value in (headers | KEY).items()]
    (HOME / f"{name}.lua").write_text("\n".join(lines) + ("" if alike else VARIED))
    return HOME / f"{name}.lua"


@contextmanager
def neighbour(share: float) -> Iterator[None]:
    """A process that is busy for a share of the time, as the client is while servers are measured.

    Two CPUs of a rented machine may be two threads of one core: beside a busy one, ONNX Runtime took 1.4 times the CPU time
    at one hour and no more than alone at another, so both are measured in each run.
    """
    code = (
        f"import time\nwhile True:\n end = time.perf_counter() + {0.002 * share}\n"
        f" while time.perf_counter() < end: pass\n time.sleep({0.002 * (1 - share)})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def bare(folder: Path, work: Work, batch: int, seconds: float = 1.0) -> float:
    """CPU microseconds a row of ONNX Runtime without a server, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    rows = rows_of(work.name, work.shape, batch)
    feeds = {work.name: rows if rows.dtype == np.int64 else rows.astype(np.float32)}
    session.run(None, feeds)
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        session.run(None, feeds)
        count += batch
    return (time.process_time() - start) / count * 1e6


def ours(folder: Path, *flags: str, binary: bool = False) -> Peer:
    (HOME / "keys").write_text("bench\n")
    port = free_port()
    command = [sys.executable, "-m", "infra.serving", f"bench={folder}", "--port", str(port), *flags]
    command += ["--home", str(HOME / "home"), "--keys-file", str(HOME / "keys"), "--log-level", "error"]
    path = "/v2/models/bench/infer" if binary else "/invocations"
    return Peer(BY_ASGI if flags else OURS, command, port, path, PYTHONPATH=str(ROOT))


def wrk(peer: Any, connections: int, script: Path, seconds: int = SECONDS) -> dict[str, float]:
    """One turn: requests a second, p99 in ms, CPU microseconds a request, and errors. A peer has `process` and `url`."""
    before, client, start = cpu_seconds(peer.process.pid), _children(), time.monotonic()
    load = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", str(script)]
    text = subprocess.run(["wrk", *load, peer.url], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(peer.process.pid) - before
    share = (_children() - client) / (time.monotonic() - start)
    count = int(match[1]) if (match := re.search(r"(\d+) requests in", text)) else 0
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    bad = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return {
        "rate": float(match[1]) if (match := re.search(r"Requests/sec:\s+([\d.]+)", text)) else 0.0,
        "p99_ms": float(late[1]) * scale[late[2]] if late else 0.0,
        "cpu_us": used / max(count, 1) * 1e6,
        "bad": float(bad),
        "count": float(count),
        "client_share": min(share, 1.0),
    }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(work: Work, rounds: int) -> dict[str, Any]:
    """Medians of turns: every server in every round, ONNX Runtime alone between them."""
    folder = HOME / "models" / work.name
    shutil.rmtree(folder, ignore_errors=True)
    models.save(folder, work.model(), {work.name: rows_of(work.name, work.shape, 1).tolist()})
    body, headers = body_of(work)
    running = [ours(folder, binary=work.binary)]
    if BY_ASGI in work.peers:
        running.append(ours(folder, "--no-fast-path"))
    running += peers(folder, work.peers)
    try:
        up = [peer for peer in running if peer.wait(body, headers | KEY)]
        scripts = {
            peer.name: lua(peer.asked(body), headers, work.alike, peer.name.replace(" ", "-")) for peer in up
        }
        turns: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in up}
        beside: dict[int, list[float]] = {1: [], 64: []}
        alone: dict[int, list[float]] = {1: [], 64: []}
        for _ in range(rounds):
            for peer in up:
                with halted([other for other in running if other is not peer]):
                    turns[peer.name].append(wrk(peer, work.connections, scripts[peer.name]))
            with halted(running):
                for batch, costs in alone.items():
                    costs.append(bare(folder, work, batch, 0.5))
                with neighbour(turns[OURS][-1]["client_share"]):
                    for batch, costs in beside.items():
                        costs.append(bare(folder, work, batch, 0.5))
        capacity = statistics.median(turn["rate"] for turn in turns[OURS])
        with halted(running[1:]):
            scheduled = [
                {
                    "share": share,
                    **offered(
                        running[0].url, share * capacity, 3 * SECONDS, work.connections, headers | KEY, body
                    ),
                }
                for share in SHARES
            ]
    finally:
        for peer in running:
            peer.stop()
    servers = {
        name: {key: statistics.median(turn[key] for turn in found) for key in found[0]}
        for name, found in turns.items()
    }
    return {
        "connections": work.connections,
        "rows": work.rows,
        "body_bytes": len(body),
        "servers": servers,
        "turns": turns,
        "scheduled": scheduled,
        "onnxruntime_turns": beside,
        "missing": sorted(peer.name for peer in running if peer not in up),
        "onnxruntime_cpu_us_a_row": {batch: statistics.median(costs) for batch, costs in beside.items()},
        "onnxruntime_without_a_neighbour": {
            batch: statistics.median(costs) for batch, costs in alone.items()
        },
    }


def bounds(work: Work, found: dict[str, Any]) -> list[Bound]:
    """The figures this row is held to: ratios by CPU compare costs of one request; by rate, requests a second."""
    servers, turns = found["servers"], found["turns"]
    ours, alone = turns[OURS], found["onnxruntime_turns"]
    us = servers[OURS]

    def by_cpu(name: str) -> float:
        return paired([turn["cpu_us"] for turn in turns.get(name, [])], [turn["cpu_us"] for turn in ours])

    def by_rate(name: str) -> float:
        return paired([turn["rate"] for turn in ours], [turn["rate"] for turn in turns.get(name, [])])

    def of_bare(batch: int) -> float:
        return paired(alone[batch], [turn["cpu_us"] for turn in ours])

    def bound(what: str, value: float, wanted: float, cost: bool = False) -> Bound:
        return Bound(work.title, what, value, wanted, cost)

    def against(name: str, wanted: float) -> list[Bound]:
        return [
            bound(f"× {name}, rate", by_rate(name), wanted),
            bound(f"× {name}, CPU", by_cpu(name), wanted),
        ]

    if work.alike:
        return against(BY_ASGI, 2)
    if work.title.startswith("tiny MLP, JSON row"):
        return [
            *against("mlflow", 60),
            *against("fastapi", 8),
            *against(BY_ASGI, 2),
            bound("× the do-nothing ASGI app, CPU", by_cpu("nothing"), 49 / 30),
            bound("of bare ORT, batch 1, CPU", of_bare(1), 0.5),
            bound("CPU µs a request", us["cpu_us"], 10, cost=True),
            bound("p99 ms", us["p99_ms"], 5, cost=True),
        ]
    if "CNN" in work.title:
        return [
            *against("mlflow", 24),
            bound("of bare ORT, batch 1, CPU", of_bare(1), 1.0),
            bound("of bare ORT, batch 64, CPU", of_bare(64), 0.8),
        ]
    if "transformer" in work.title:
        rate = paired([turn["rate"] for turn in ours], [1e6 / cost for cost in alone[64]])
        return [
            *against("mlflow", 5),
            bound("of bare ORT, batch 64, CPU", of_bare(64), 0.95),
            bound("of bare ORT, batch 64, rate", rate, 0.95),
        ]
    if work.binary:
        return [bound("CPU of bare ORT's, batch 64", 1 / (64 * of_bare(64)), 2.5, cost=True)]
    return against("mlflow", 15)


def report(work: Work, found: dict[str, Any], held: Sequence[Bound]) -> None:
    size = f"{found['body_bytes'] / 1000:.1f} kB"
    print(
        f"\n{work.title}, {size}, {work.connections} connections, medians of turns; load and steal {loaded(found['around'])}"
    )
    print(f"{'':28}{'req/s':>10}{'CPU µs':>10}{'p99 ms':>10}{'bad':>6}")
    for name, row in sorted(found["servers"].items(), key=lambda item: -item[1]["rate"]):
        print(f"{name:28}{row['rate']:>10.0f}{row['cpu_us']:>10.1f}{row['p99_ms']:>10.1f}{row['bad']:>6.0f}")
    for batch, cost in found["onnxruntime_cpu_us_a_row"].items():
        alone = found["onnxruntime_without_a_neighbour"][batch]
        print(
            f"{f'onnxruntime, row in a {batch}':28}{1e6 / cost:>10.0f}{cost:>10.1f}  (nobody beside it: {alone:.1f})"
        )
    for name in found["missing"]:
        print(f"{name:28}  could not be started")
    for row in found["scheduled"]:
        times = ", ".join(f"{name} {row[f'{name}_ms']:.1f}" for name in ("p50", "p99", "p99.9", "late"))
        print(f"  by schedule, {row['share']:.0%}: {row['asked_rate']:.0f} a second, ms: {times}")
    for bound in held:
        word = "at most" if bound.cost else "at least"
        mark = "ok" if bound.reached else "MISSED"
        print(f"  {bound.what:36}{bound.value:>9.2f}  wanted {word} {bound.wanted:.3g}: {mark}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="rows whose title has one of these; all if none is given")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    said, figures = machine(*LIBRARIES), dict[str, Any]()
    for work in WORKS:
        if given.words and not any(word in work.title for word in given.words):
            continue
        with surroundings() as around:
            found = measure(work, given.rounds)
        held = bounds(work, found)
        found["around"] = around
        report(work, found, held)
        found["bounds"] = [{**bound._asdict(), "reached": bound.reached} for bound in held]
        figures[work.title] = found
        text = json.dumps({"machine": said, "rounds": given.rounds, "figures": figures}, indent=1)
        (HOME / "serving.json").write_text(text)
    if WRITES:
        write("serving", rates(said, given.rounds, figures))


if __name__ == "__main__":
    main()
