"""`slipway up` whose servers ask for accounts: a retrain under `approval: manual`, from its deployment to the champion."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_process import Platform

PREFECT, MLFLOW = "ada:a-long-prefect-secret", "a-long-mlflow-secret"

pytestmark = [pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def platform(tmp_path: Path, empty_mlflow_database: Path) -> Iterator[Platform]:
    home, folder = tmp_path / "home", tmp_path / "mine"
    for made in (home, folder):
        made.mkdir()
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    first = 30_000 + os.getpid() % 1000 * 10
    usual = {name: first + place for place, name in enumerate(("prefect", "worker", "mlflow", "server"))}
    (home / "ports.json").write_text(json.dumps(usual))
    (folder / "mlflow.yaml").write_text("models: {digits: {approval: manual}}\n")
    accounts = {"PREFECT_SERVER_API_AUTH_STRING": PREFECT, "MLFLOW_AUTH_ADMIN_PASSWORD": MLFLOW}
    with Platform(home, folder, PREFECT, **accounts) as process:
        yield process


def test_a_retrain_waits_for_a_person_and_the_server_serves_what_was_approved(platform: Platform) -> None:
    refuses_who_has_no_account(platform)
    run = platform.start("retrain/digits", {"recipes": ["fp32"]})
    assert platform.ended(run)["state_type"] == "COMPLETED", platform.log("worker")
    assert "digits version 1: registered" in platform.artifact(run, "markdown")
    assert platform.status()[1]["serves"]["digits"] is None

    question = platform.until(lambda: waiting(platform), "somebody to be asked")
    answer = {"decision": "approve", "who": "Ada", "why": "its first proof is whole"}
    taken = platform.ask(f"/flow_runs/{question}/resume", {"run_input": answer})
    assert taken["status"] == "ACCEPT", taken
    assert platform.ended(question)["state_type"] == "COMPLETED"

    platform.until(lambda: platform.status()[1]["serves"]["digits"] == "1", "the server to serve it")
    entry = history(platform)["entries"][-1]
    assert (entry["action"], entry["to_version"], entry["who"]) == ("promote", 1, "Ada")
    no_secret_is_written(platform.home)


def refuses_who_has_no_account(platform: Platform) -> None:
    for url in (
        f"{platform.addresses['prefect']}/api/admin/version",
        f"{platform.addresses['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1",
    ):
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(url, timeout=60)
        refused.value.close()


def waiting(platform: Platform) -> Any:
    """The run of `promote` that has asked and gone."""
    asked = [run["id"] for run in platform.runs("promote/promote") if run["state_type"] == "PAUSED"]
    return asked[0] if asked else None


def history(platform: Platform) -> Any:
    """What `slipway history digits --json` prints for who has an account."""
    account = {
        "MLFLOW_TRACKING_URI": platform.addresses["mlflow"],
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": MLFLOW,
    }
    command = [sys.executable, "-m", "flows.cli", "history", "digits", "--json"]
    asked = subprocess.run(command, env={**platform.environment, **account}, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def no_secret_is_written(home: Path) -> None:
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"a-long-" not in path.read_bytes(), path
