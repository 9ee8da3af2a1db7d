"""What orchestration costs: a run's wall time less its steps' own, with an embedded server and with one running.

Each run changes the seed, so that every step runs; the steps' own times are what the run itself reports.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from flows.pipeline.runner import AROUND

ROUNDS = 3


def run(seed: int, environment: dict[str, str]) -> dict[str, object]:
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        "digits",
        "--json",
        "--set",
        "recipes=[]",
    ]
    command += ["--set", f"train.seed={seed}", "--set", "train.epochs=10"]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall = time.monotonic() - started
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    outcome = json.loads(done.stdout)
    own = sum(step["seconds"] for step in outcome["steps"] if step["name"] != AROUND)
    return {"wall": wall, "steps": own, "overhead": wall - own, "decision": outcome["decision"]}


def server(home: Path) -> tuple["subprocess.Popen[bytes]", str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = f"sqlite+aiosqlite:///{home / 'running.db'}"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-ui",
        ],
        env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_DATABASE_CONNECTION_URL": database},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/api"
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
            return process, url
        except OSError:
            time.sleep(0.2)


def main() -> None:
    results: dict[str, list[dict[str, object]]] = {"embedded": [], "running": [], "unchanged": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        embedded = {**os.environ, "SLIPWAY_HOME": str(home / "home")}
        run(1000, embedded)  # warms both databases
        process, url = server(home)
        try:
            running = {**embedded, "PREFECT_API_URL": url}
            for turn in range(ROUNDS):
                results["embedded"].append(run(2 * turn, embedded))
                results["running"].append(run(2 * turn + 1, running))
                results["unchanged"].append(run(2 * turn + 1, running))
        finally:
            process.terminate()
            process.wait()
    table = {
        name: {
            key: statistics.median(float(str(r[key])) for r in rows) for key in ("wall", "steps", "overhead")
        }
        for name, rows in results.items()
    }
    print(f"{'server':12} {'wall s':>8} {'steps s':>8} {'less steps s':>13}")
    for name, row in table.items():
        print(f"{name:12} {row['wall']:8.1f} {row['steps']:8.1f} {row['overhead']:13.1f}")
    target = Path(".slipway/bench/overhead.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"medians": table, "rounds": results}, indent=1))


if __name__ == "__main__":
    main()
