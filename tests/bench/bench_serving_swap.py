"""Alias moves under load, cold start from the cache, and memory: what following costs, with a real MLflow over HTTP."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import serving_models as models
from serving_peers import HOME, free_port, tree
from serving_process import ServerProcess, move, publish, wait_for

MOVES, POLL = 100, 0.5
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


def registry(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port), *store]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: answers(port), 120)
    return process, f"http://127.0.0.1:{port}"


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def swaps(server: ServerProcess, uri: str, versions: list[str]) -> dict[str, float]:
    clients = [Client(server.address) for _ in range(4)]
    for client in clients:
        client.start()
    delays, moments = [], []
    for number in range(MOVES):
        version = versions[(number + 1) % 2]
        move(uri, "swap", "champion", version)
        moved = time.perf_counter()
        wait_for(lambda: server.post("/invocations", BODY).version == version, pause=0.005)  # noqa: B023
        delays.append(time.perf_counter() - moved)
        moments.append(time.perf_counter())
        time.sleep(0.3)
    for client in clients:
        client.going = False
        client.join()
    seen = [item for client in clients for item in client.seen]
    near = [took for at, took, _ in seen if any(abs(at - moment) < 0.1 for moment in moments)]
    far = [took for at, took, _ in seen if all(abs(at - moment) >= 0.1 for moment in moments)]
    return {
        "moves": MOVES,
        "requests": len(seen),
        "failed": sum(client.failed for client in clients),
        "answered by another version than named": sum(client.mixed for client in clients),
        "new version answers after, median s": statistics.median(delays),
        "new version answers after, most s": max(delays),
        "p99 ms, within 0.1 s of a move": percentile(near, 0.99) * 1e3,
        "p99 ms, otherwise": percentile(far, 0.99) * 1e3,
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


def cold(home: Path, uri: str, **options: object) -> float:
    """Seconds from starting the process to its first answer, from the cache."""
    port = free_port()
    start = time.perf_counter()
    server = ServerProcess("swap@champion", home=home, ready=False, port=port, tracking_uri=uri, **options)
    server.url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: first_answer(server), pause=0.005)
        return time.perf_counter() - start
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
    process, uri = registry(folder)
    try:
        made = [
            models.save(folder / f"m{seed}", models.mlp(seed=seed), {"x": [[0.5] * 64]}) for seed in (1, 2)
        ]
        versions = [
            publish(uri, "swap", each, [alias])
            for each, alias in zip(made, ("champion", "challenger"), strict=True)
        ]
        options = {"tracking_uri": uri, "allow_unsigned": True, "poll": POLL, "log_level": "error"}
        with ServerProcess("swap@champion", home=folder / "home", **options) as server:
            time.sleep(8)
            figures = {**swaps(server, uri, versions), **memory(server)}
        figures["cold start s, from the cache"] = statistics.median(
            cold(folder / "home", uri, allow_unsigned=True, log_level="error") for _ in range(5)
        )
    finally:
        process.terminate()
        process.wait(20)
    for name, value in figures.items():
        print(f"{name:50}{value:>12.3f}")
    (HOME / "serving_swap.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
