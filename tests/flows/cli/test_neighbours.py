"""Commands find the platform of their home, whichever way the home is named."""

import os
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from flows.cli.neighbours import join_platform
from flows.cli.old_champions import before_serving
from infra.platform.state import Running, State, write_state

VARIABLES = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "SLIPWAY_HOME")


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that says that this process is its platform, and which no variable names."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # put back afterwards
    monkeypatch.chdir(tmp_path)
    me, home = psutil.Process(), tmp_path / "up"
    home.mkdir()
    mlflow = Running(
        name="mlflow", pid=me.pid, since=datetime.now(UTC), restarts=0, url="http://127.0.0.1:9", health=""
    )
    write_state(home, State(home=home, pid=me.pid, created=me.create_time(), services=(mlflow,)))
    return home


def test_a_server_follows_the_registry_of_the_home_that_its_option_names(up: Path) -> None:
    before_serving(["digits", "--allow-unsigned"])
    assert not os.environ["MLFLOW_TRACKING_URI"], "nothing is up in this folder's own home"
    before_serving(["digits", "--allow-unsigned", "--home", str(up)])
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"


def test_an_address_that_is_given_wins(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_serving(["digits", "--allow-unsigned", "--home", str(up), "--tracking-uri", "http://other:5000"])
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://other:5000"
    monkeypatch.setenv("SLIPWAY_HOME", str(up))
    join_platform()
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://other:5000"
