"""What the tests share: servers, and their end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import ROOT

from tasks.system.processes import is_running

TEST = """
import time

def test_that_has_a_server(mlflow_server):
    time.sleep(30)
"""


@pytest.mark.slow
def test_a_session_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    places = os.pathsep.join(str(ROOT / folder) for folder in ("", "tests", "tests/support"))
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    words = ["-p", "conftest", "-n", "1", "--basetemp", str(tmp_path / "base"), "test_it.py"]
    with (tmp_path / "log").open("wb") as log:
        session = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            stdout=log,
            stderr=log,
            env={**environment, "PYTHONPATH": places},
            cwd=tmp_path,
        )
    server = tmp_path / "base" / "shared-mlflow"
    try:
        _until((server / "address").exists, tmp_path / "log")
    finally:
        session.kill()
        session.wait()
    _until(lambda: not is_running(int((server / "pid").read_text())), tmp_path / "log")


def _until(true: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
