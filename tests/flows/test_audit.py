"""The monthly audit on a real Prefect server: its result is an artifact, and what does not hold is told to who is told of alarms."""

import shutil
from pathlib import Path

import deployed
import promotions
import pytest
import yaml
from checkout import ROOT

from flows.audit import audit
from tasks.promotion.champion import promote
from tasks.registry.registry import Registry
from tasks.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""Prefect leaves a connection of a run done in this process to the collector."""


def test_it_is_deployed_to_run_each_month_by_itself() -> None:
    deployments = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
    (made,) = [each for each in deployments if each["entrypoint"] == "flows.audit.audit"]
    (schedule,) = made["schedules"]
    assert schedule["cron"].split()[2:] == ["1", "*", "*"] and schedule.get("active", True)
    told = yaml.safe_load((ROOT / "infra" / "automations" / "notify.yaml").read_text())["automations"]
    assert "slipway.audit.failed" in told[0]["trigger"]["expect"]


@pytest.mark.slow
def test_what_does_not_hold_is_in_the_runs_name_its_artifact_and_an_event(
    home: Path,
    tmp_path: Path,
    empty_mlflow_database: Path,
    prefect_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    promote(
        registry,
        promotions.register(registry, "toy", tmp_path, 2.0),
        against=None,
        why="first",
        verdict="pass",
    )
    events: list[tuple[str, str, str]] = []
    shown: list[str] = []
    monkeypatch.setattr(
        "flows.audit.emit", lambda event, model, message, about: events.append((event, model, message))
    )
    monkeypatch.setattr(
        "flows.orchestration.artifacts.create_markdown_artifact", lambda text, key: shown.append(text)
    )
    with deployed.talking_to(prefect_server, home):
        state = audit(replay=False, return_state=True)
        assert (state.name, state.message) == (
            "Completed",
            "1 version of 1 model: all of it holds",
        ) and events == []
        (path,) = [path for path in home.rglob("model.onnx")]
        path.write_bytes(path.read_bytes() + b"\0")
        state = audit(replay=False, return_state=True)
    fault = "toy version 1: toy-v1: model.onnx was altered after it was signed"
    assert state.is_completed() and (state.name, state.message) == (
        "Faulty",
        f"1 version of 1 model: 1 does not hold: {fault}",
    )
    assert events == [("slipway.audit.failed", "toy", f"audit: {fault}")]
    assert "| toy | 1 |" in shown[0] and f"- {fault}" in shown[1]
