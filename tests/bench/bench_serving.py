"""Requests a second and CPU a request: our server, the same without the short way, and peers, in turns on this machine."""

import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import serving_models as models
from serving_peers import HOME, Peer, cpu_seconds, free_port, peers

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, SECONDS = 3, 3
WORKS = {
    "tiny MLP, JSON row": (models.mlp, "x", (64,), 64),
    "small CNN, JSON row": (models.cnn, "image", (1, 28, 28), 64),
    "transformer 10.6M, JSON row": (models.transformer, "tokens", (32,), 16),
}
POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "bench"
wrk.body = io.open("{body}", "rb"):read("*a")
"""


def rows_of(name: str, shape: tuple[int, ...], count: int) -> Any:
    random = np.random.default_rng(0)
    if name == "tokens":
        return random.integers(0, 256, (count, *shape))
    return random.random((count, *shape)).round(4)


def bare(folder: Path, name: str, shape: tuple[int, ...], batch: int, seconds: float = 1.0) -> float:
    """Rows a second of ONNX Runtime alone, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    rows = rows_of(name, shape, batch)
    feeds = {name: rows if rows.dtype == np.int64 else rows.astype(np.float32)}
    session.run(None, feeds)
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        session.run(None, feeds)
        count += batch
    return count / (time.process_time() - start)


def ours(folder: Path, short: bool) -> Peer:
    (HOME / "keys").write_text("bench\n")
    port = free_port()
    command = [sys.executable, "-m", "infra.serving", f"bench={folder}", "--port", str(port)]
    command += ["--home", str(HOME / "home"), "--keys-file", str(HOME / "keys"), "--log-level", "error"]
    extra = [] if short else ["--no-short-way"]
    return Peer(
        "slipway" if short else "slipway by ASGI",
        [*command, *extra],
        port,
        PYTHONPATH=str(ROOT),
        SLIPWAY_SERVE_KEYS="bench",
    )


def wrk(peer: Peer, connections: int, script: Path) -> dict[str, float]:
    """One turn: requests a second, p99 in ms, CPU microseconds a request, and errors."""
    before = cpu_seconds(peer.process.pid)
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{SECONDS}s",
        "--timeout",
        "10s",
        "--latency",
        "-s",
        str(script),
        peer.url,
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(peer.process.pid) - before
    count = int(match[1]) if (match := re.search(r"(\d+) requests in", text)) else 0
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    bad = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return {
        "rate": float(match[1]) if (match := re.search(r"Requests/sec:\s+([\d.]+)", text)) else 0.0,
        "p99_ms": float(late[1]) * scale[late[2]] if late else 0.0,
        "cpu_us": used / max(count, 1) * 1e6,
        "bad": float(bad),
    }


def measure(title: str, quick: bool) -> dict[str, Any]:
    make, name, shape, connections = WORKS[title]
    folder = HOME / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    models.save(folder, make(), {name: rows_of(name, shape, 1).tolist()})
    body = json.dumps({"inputs": {name: rows_of(name, shape, 1).tolist()}}).encode()
    (HOME / "body.json").write_bytes(body)
    script = HOME / "post.lua"
    script.write_text(POST.format(body=HOME / "body.json"))
    running = [ours(folder, True), ours(folder, False), *peers(folder)]
    try:
        up = [peer for peer in running if peer.wait(body) or peer.name.startswith("slipway")]
        turns: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in up}
        alone: dict[int, list[float]] = {1: [], 64: []}
        for _ in range(1 if quick else ROUNDS):
            for batch, rates in alone.items():
                rates.append(bare(folder, name, shape, batch))
            for peer in up:
                turns[peer.name].append(wrk(peer, connections, script))
    finally:
        for peer in running:
            peer.stop()
    result = {
        peer: {key: statistics.median(turn[key] for turn in found) for key in found[0]}
        for peer, found in turns.items()
    }
    ort_alone = {batch: statistics.median(rates) for batch, rates in alone.items()}
    report(title, connections, result, ort_alone)
    return {"connections": connections, "servers": result, "onnxruntime": ort_alone}


def report(
    title: str, connections: int, result: dict[str, dict[str, float]], alone: dict[int, float]
) -> None:
    print(f"\n{title}, {connections} connections, medians of rounds taken in turns")
    print(f"{'':24}{'req/s':>10}{'CPU µs':>10}{'p99 ms':>10}{'bad':>6}")
    for name, found in sorted(result.items(), key=lambda item: -item[1]["rate"]):
        print(
            f"{name:24}{found['rate']:>10.0f}{found['cpu_us']:>10.1f}{found['p99_ms']:>10.1f}{found['bad']:>6.0f}"
        )
    for batch, rate in alone.items():
        print(f"{f'onnxruntime, batch {batch}':24}{rate:>10.0f}{1e6 / rate:>10.1f}")


def main() -> None:
    quick = "--quick" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--quick"]
    HOME.mkdir(parents=True, exist_ok=True)
    chosen = [title for title in WORKS if not words or any(word in title for word in words)]
    figures = {title: measure(title, quick) for title in chosen}
    libraries = {name: version(name) for name in ("uvicorn", "onnxruntime", "mlflow", "fastapi", "numpy")}
    machine = {"python": platform.python_version(), "machine": platform.machine(), "libraries": libraries}
    (HOME / "serving.json").write_text(json.dumps({"machine": machine, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
