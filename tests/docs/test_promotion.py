"""The page on promotion, between two real MLflow servers: what is copied to production is verified there, served, and says where it came from."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import digit_versions
import pytest
from checkout import ROOT
from commands import answer, served, slipway
from free_ports import free_port
from pages import blocks

from tasks.data.dataset import read_split
from tasks.promotion.champion import promote
from tasks.records import Candidate, Dataset
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.processes import end_all, family

PRODUCTION = "http://mlflow.prod:5000"


@contextmanager
def servers(*folders: Path) -> Iterator[list[str]]:
    """An MLflow server on SQLite a folder."""
    started, addresses = [], []
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    try:
        for folder in folders:
            folder.mkdir()
            addresses.append(f"http://127.0.0.1:{free_port()}")
            words = ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
            words += ["--artifacts-destination", str(folder / "artifacts"), "--port", addresses[-1][17:]]
            with (folder / "log").open("w") as log:
                command = [sys.executable, "-m", "mlflow", "server", *words]
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        for address in addresses:
            wait(f"{address}/health")
        yield addresses
    finally:
        for process in started:
            end_all(family(process.pid))
            process.wait()


def wait(url: str) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_staging_promoted_is_verified_and_served_in_production(
    home: Path,
    tmp_path: Path,
    linear_digits: tuple[Dataset, Candidate],
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = [
        command
        for block in blocks("docs/promotion.md")
        for command in block.commands
        if PRODUCTION in block.text
    ]
    home.mkdir(mode=0o700)
    with servers(tmp_path / "staging", tmp_path / "production") as (staging, production):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", staging)
        registry = Registry(load_settings())
        version = digit_versions.register(registry, *linear_digits)
        promote(registry, version, against=None, why="the first", who="ada")
        where = {**os.environ, "PYTHONPATH": str(ROOT), "SLIPWAY_USER": "ops"}
        printed = {}
        for command in (command.replace(PRODUCTION, production) for command in commands):
            first, *words = command.split()
            if first == "export":
                where |= dict(word.split("=", 1) for word in words)
            elif words[0] == "serve":
                with served(where, command) as url:
                    image = read_split(linear_digits[0], "test").inputs["image"][:1].tolist()
                    assert "logits" in answer(url, json.dumps({"inputs": {"image": image}}))["predictions"]
            else:
                done = slipway(command, where, tmp_path, [program])
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
                printed[words[0]] = done.stdout
        assert "version 1: verified" in printed["verify"]
        assert f"a week without a complaint [from v1 of {staging}, by ada: the first" in printed["history"]
        again = slipway(
            f"{commands[0].replace(PRODUCTION, production)} --json",
            where | {"MLFLOW_TRACKING_URI": staging},
            program=[program],
        )
        assert json.loads(again.stdout)["outcome"] == "already there"
