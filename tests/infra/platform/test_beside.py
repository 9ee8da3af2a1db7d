"""Commands beside a running `slipway up` find its servers, unless they are told of others."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from checkout import ROOT

from infra.platform.beside import join
from infra.platform.state import Running, State, write_state

AT = {"prefect": "http://127.0.0.1:4200", "mlflow": "http://127.0.0.1:9"}
VARIABLES = (
    "PREFECT_API_URL",
    "MLFLOW_TRACKING_URI",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
)


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that says that this process is its platform."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)
    me, now = psutil.Process(), datetime.now(UTC)
    services = tuple(
        Running(name=name, pid=me.pid, since=now, restarts=0, url=url, health=url) for name, url in AT.items()
    )
    state = State(home=tmp_path, pid=me.pid, created=me.create_time(), services=services)
    write_state(tmp_path, state)
    return tmp_path


def addresses() -> tuple[str | None, ...]:
    return tuple(map(os.environ.get, VARIABLES[:3]))


def test_what_nobody_names_is_the_platforms(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "ada:secret")
    join(up)
    assert addresses() == ("http://127.0.0.1:4200/api", AT["mlflow"], "ada:secret")


def test_what_the_environment_or_mlflow_yaml_names_stays(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.internal:4200/api")
    join(up, registry=False)
    assert addresses() == ("http://prefect.internal:4200/api", None, None)


def test_a_home_where_nothing_is_up_changes_nothing(up: Path, tmp_path: Path) -> None:
    write_state(up, None)
    join(up)
    assert addresses() == (None, None, None)


@pytest.mark.slow
def test_a_command_asks_the_registry_of_the_platform(up: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SLIPWAY_HOME": str(up)}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "history", "digits"], env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode != 0 and AT["mlflow"] in done.stderr
