"""A champion of the digits at a home of its own, and a server that records what it is asked: what monitoring looks at."""

import datetime
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import digit_versions
import numpy as np
import pytest
from checkout import ROOT

from tasks.data.dataset import read_split
from tasks.promotion.champion import promote
from tasks.records import Candidate, Dataset
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.traffic.requests import read_traffic

Images = np.ndarray  # type: ignore[type-arg]

Send = Callable[[Images], None]


@contextmanager
def watched_home(folder: Path, database: Path, dataset: Dataset, fp32: Candidate) -> Iterator[Path]:
    """`folder` as SLIPWAY_HOME, whose registry has a champion of the digits."""
    shutil.copyfile(database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry(load_settings())
        promote(registry, digit_versions.register(registry, dataset, fp32), against=None, why="the first")
        yield folder


@contextmanager
def recording_server(home: Path) -> Iterator[Send]:
    """Ask a server that records everything; returns when the answers can be found in its record."""
    command = [sys.executable, "-m", "infra.serving", "digits@champion", "--port", "0", "--record", "1"]
    log = (home / "server.log").open("wb")
    server = subprocess.Popen(
        [*command, "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=ROOT,
        env=os.environ.copy(),
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line, (home / "server.log").read_text()
    url = json.loads(line)["url"]

    def ask(images: Images) -> None:
        before = _recorded(home)
        for start in range(0, len(images), 16):
            body = json.dumps({"inputs": {"image": images[start : start + 16].tolist()}}).encode()
            request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request).close()
        deadline = time.monotonic() + 120
        while _recorded(home) < before + len(images) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert _recorded(home) == before + len(images)

    yield ask
    server.terminate()
    server.communicate(timeout=60)
    log.close()


def validation_images(dataset: Dataset) -> Images:
    return np.array(read_split(dataset, "validation").inputs["image"])


def _recorded(home: Path) -> int:
    """Rows in the record."""
    table = read_traffic(home / "traffic" / "digits", datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
    return 0 if table is None else len(table)
