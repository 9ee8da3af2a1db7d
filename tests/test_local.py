"""`slipway up`, all of it: real servers, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest


def post(url: str) -> list[dict[str, object]]:
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        found: list[dict[str, object]] = json.load(reply)
        return found


@pytest.mark.slow
def test_everything_comes_up_and_one_signal_ends_it(home: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "up"]
    process = subprocess.Popen(command, env=os.environ.copy(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses = dict(process.stdout.readline().split() for _ in range(3))
        children = psutil.Process(process.pid).children(recursive=True)
        assert set(addresses) == {"prefect", "mlflow", "server"} and len(children) >= 4
        for name, path in {"prefect": "/api/health", "mlflow": "/health", "server": "/health"}.items():
            urllib.request.urlopen(addresses[name] + path).close()
        assert deployments(addresses["prefect"]) == {"retrain", "promote", "rollback"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []


def deployments(prefect: str) -> set[object]:
    """The runner registers them one by one, soon after the servers are up."""
    deadline, names = time.monotonic() + 60, set[object]()
    while len(names) < 3 and time.monotonic() < deadline:
        names = {one["name"] for one in post(f"{prefect}/api/deployments/filter")}
        time.sleep(0.2)
    return names
