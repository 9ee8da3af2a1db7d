"""A decision that is announced: whoever makes the next waits for nobody who is gone."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import promotions
import psutil
import pytest
from checkout import BENCH, ROOT

from flows.orchestration.embedded import EmbeddedServer
from tasks.promotion.champion import model_lock, promote
from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.settings import load_settings


@contextmanager
def deciding(home: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that promotes, with a Prefect server of its own, which goes with it and leaves its database."""
    server = EmbeddedServer(home)
    server.start()
    try:
        server.wait()
        command = [sys.executable, str(BENCH / "promote_in_a_process.py"), *arguments]
        environment = {**os.environ, "PREFECT_API_URL": server.api_url, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            yield process
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", ["claim", pytest.param("set_alias", marks=pytest.mark.platform)])
def test_a_process_that_is_killed_while_it_decides_keeps_nobody_waiting(
    home: Path,
    mlflow_server: str,
    empty_prefect_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_prefect_database, home / "prefect.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("PREFECT_API_URL", "")
    registry, model = Registry(load_settings()), f"killed-at-{point.replace('_', '-')}"
    first, *_ = promotions.register_bare(registry, model, 3)
    with model_lock(registry.settings, model):
        promote(registry, first, against=None, why="the first")
    with deciding(home, model, "2", "1", point) as killed:
        while psutil.Process(killed.pid).status() != psutil.STATUS_STOPPED:
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
    serving = "1" if point == "claim" else "2"  # what was claimed is carried out by whoever comes next
    with deciding(home, model, "3", serving) as following:
        assert following.communicate()[0].splitlines()[-1] == "promoted"
    promotions.check(registry, ledger := read_ledger(registry, model))
    assert ledger.serving == 3
