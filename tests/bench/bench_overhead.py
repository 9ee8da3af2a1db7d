"""What orchestration costs: a run's wall time less its steps' own, with an embedded server and with one running.

Each run changes the seed, so that every step runs; the steps' own times are what the run itself reports.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from figures import published, spread, table

from flows.pipeline.runner import AROUND

ROUNDS = 3


def run(seed: int, environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, those of the steps, and what is between them."""
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
    return wall, own, wall - own


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
    with published("overhead", "prefect", "mlflow") as lines:
        lines += table(
            ("server", "wall s", "steps s", "wall less steps, s"),
            [(name, *map(spread, zip(*rounds, strict=True))) for name, rounds in measured().items()],
        )


def measured() -> dict[str, list[tuple[float, float, float]]]:
    names = ("embedded", "running", "running, nothing changed")
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
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
                results["running, nothing changed"].append(run(2 * turn + 1, running))
        finally:
            process.terminate()
            process.wait()
    return results


if __name__ == "__main__":
    main()
