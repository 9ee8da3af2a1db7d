"""One's own model on the team's platform: deployed from a laptop, run by workers that never had its file, promoted at night."""

import base64
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import held_churn
import pytest
from checkout import ROOT
from composed import Composed
from composed_platform import (
    call,
    checkpoint_is_mirrored,
    mlflow,
    prefect,
    running,
    s3_client,
    state_of,
    until,
)

from tasks.system.files import sha256_of

MODEL = "churn"
CHROMIUM = shutil.which("chromium")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic")


class Laptop:
    """Where the data scientist works: a home of its own, her files, and the team's servers in the environment."""

    def __init__(self, platform: Composed, folder: Path) -> None:
        self.file = held_churn.write(folder)
        self.index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels")}
        self.environment = {**platform.environment("worker", "laptop"), **self.index, "PYTHONPATH": str(ROOT)}
        self.folder = folder

    def slipway(self, *words: str, code: int = 0, **environment: str) -> Any:
        """What the command prints as JSON; its sentence where it fails."""
        command = [sys.executable, "-m", "infra.secrets.inject", sys.executable, "-m", "flows.cli", *words]
        given = {**self.environment, **environment}
        done = subprocess.run(
            [*command, "--json"], env=given, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def alone(self, home: Path) -> Any:
        """The same file trained without any platform."""
        environment = {"SLIPWAY_HOME": str(home), "PATH": self.environment["PATH"], "OMP_NUM_THREADS": "1"}
        path = f"{ROOT}:{self.folder / 'wheels' / 'tinyscale-1.3-py3-none-any.whl'}"
        command = [sys.executable, "-m", "flows.cli", "run", str(self.file), "--json"]
        done = subprocess.run(
            command, env={**environment, "PYTHONPATH": path, "HOME": str(home.parent)}, cwd=self.folder,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Composed]:
    with running(tmp_path, MODEL) as composed:
        yield composed


@pytest.mark.platform
@pytest.mark.timeout(3600)
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)")
def test_a_model_that_no_worker_has_the_file_of_is_trained_served_and_renewed(
    platform: Composed, tmp_path: Path
) -> None:
    laptop = Laptop(platform, tmp_path / "laptop")
    hold = tmp_path / "hold"
    hold.touch()
    platform.start("worker", "worker-1", {"SLIPWAY_TEST_HOLD": str(hold), **laptop.index})
    platform.start("server")
    until(lambda: prefect(platform, "work_pools/slipway"), platform)
    words = ("deploy", "churn.py", "--requirements", "requirements.txt")
    first = laptop.slipway(*words, "--cron", "* * * * *")
    assert (first["status"], first["name"], first["model"]) == ("deployed", "churn", "churn")
    deployed_an_hour_ago(platform)

    lost = until(lambda: running_run(platform), platform)
    switch(platform, active=False)
    assert laptop.slipway(*words)["status"] == "unchanged"
    until(lambda: checkpoint_is_mirrored(platform, lost["id"]), platform)
    platform.kill("worker-1")
    hold.unlink()
    platform.start("worker", "worker-2", laptop.index)
    resumed(platform, lost)
    served = until(lambda: champion(platform), platform)
    assert served["digest"] == laptop.alone(tmp_path / "alone")["digest"], "the same bits as in one go"
    names_its_code(platform, first)

    renewed_from_the_form(platform, laptop, first)
    switch(platform, active=True)
    assert "version 2: unchanged" in until(lambda: by_schedule(platform, "unchanged"), platform)
    a_flipped_byte_is_refused(platform, laptop, first)
    [row] = laptop.slipway("deployments")["deployments"]
    assert (row["name"], row["champion"], row["schedules"]) == ("churn", 2, ["* * * * * UTC"])
    assert laptop.slipway("withdraw", "churn") == {"name": "churn", "model": "churn", "champion": 2}
    assert laptop.slipway("deployments") == {"deployments": []}
    assert champion(platform)["version"] == "2", "what serves goes on"


def deployed_an_hour_ago(platform: Composed) -> None:
    """Events of a run that begins within five minutes after the scheduler made it are a quarter of an hour late in Prefect."""
    scheduled = "SELECT state_id FROM flow_run WHERE auto_scheduled"
    aged = f"UPDATE flow_run_state SET timestamp = timestamp - interval '1 hour' WHERE id IN ({scheduled})"
    until(lambda: any(run["state_type"] == "SCHEDULED" for run in all_runs(platform)), platform)
    platform.execute("prefect", aged)


def running_run(platform: Composed) -> Any:
    """What the schedule has started, once it runs."""
    return next((run for run in runs_of(platform) if run["state_type"] == "RUNNING"), None)


def switch(platform: Composed, *, active: bool) -> None:
    """The schedule, as its switch in the pages does."""
    deployment = prefect(platform, f"deployments/name/retrain/{MODEL}")
    [schedule] = deployment["schedules"]
    address = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
    prefect(platform, address, {"active": active}, "PATCH")


def resumed(platform: Composed, lost: Any) -> None:
    """Nobody does anything: the run is noticed as lost, and started again as it was, which another worker does to its end."""
    [run] = until(lambda: [run for run in runs_of(platform) if "auto-scheduled" not in run["tags"]], platform)
    assert (run["created_by"]["display_value"], run["parameters"]) == ("slipway-resume", lost["parameters"])
    assert "Not heard of" in prefect(platform, f"flow_runs/{lost['id']}")["state"]["message"]
    until(lambda: state_of(platform, run["id"]) == "COMPLETED", platform)
    assert "version 1: promoted" in verdict(platform, run["id"])


def renewed_from_the_form(platform: Composed, laptop: Laptop, first: dict[str, Any]) -> None:
    """A helper is edited: another bundle, which a person trains from the pages; the schedule that she had switched off stays off."""
    (laptop.folder / "helpers.py").write_text(held_churn.EDITED)
    second = laptop.slipway("deploy", "churn.py", "--requirements", "requirements.txt")
    assert second["status"] == "updated" and second["bundle"] != first["bundle"]
    assert "helpers.py changed" in second["changes"]
    assert second["schedules"] == ["* * * * * UTC, paused"]
    run = started_in_the_form(platform, second)
    until(lambda: state_of(platform, run) == "COMPLETED", platform)
    assert "version 2: promoted" in verdict(platform, run)
    until(lambda: champion(platform)["version"] == "2", platform)


def started_in_the_form(platform: Composed, made: dict[str, Any]) -> str:
    """A run as a person starts it, on the model's own page, with a field that she changes; its id."""
    from playwright.sync_api import expect, sync_playwright

    before = {run["id"] for run in runs_of(platform)}
    account = base64.b64encode(platform.secret("prefect_auth").encode()).decode()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(300_000)
        page.add_init_script(f"localStorage.setItem('prefect-password', '{account}')")
        page.goto(f"{made['address']}/run")

        def field(label: str) -> Any:
            return page.locator(".schema-form-property", has=page.get_by_text(label, exact=True)).last

        epochs = field("Epochs (Optional)").locator("input")
        expect(epochs).to_have_value("8", timeout=300_000)
        expect(page.get_by_text("workload (Optional)")).to_have_count(0)
        expect(field("bundle (Optional)")).to_contain_text(made["bundle"][:12])
        page.get_by_role("button", name="Submit").click()
        [run] = until(lambda: [run for run in runs_of(platform) if run["id"] not in before], platform)
        browser.close()
    assert run["parameters"]["file"] == f"bundle:{made['bundle']}"
    return str(run["id"])


def all_runs(platform: Composed) -> list[Any]:
    """Of the model's deployment, the newest first."""
    deployment = prefect(platform, f"deployments/name/retrain/{MODEL}")["id"]
    body = {"deployments": {"id": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_DESC"}
    runs: Any = prefect(platform, "flow_runs/filter", body)
    return list(runs)


def runs_of(platform: Composed) -> list[Any]:
    """But those of the schedule that are still to come."""
    runs = all_runs(platform)
    return [run for run in runs if run["state_type"] != "SCHEDULED" or "auto-scheduled" not in run["tags"]]


def champion(platform: Composed) -> Any:
    """What the server, which nobody told of this model, says that it serves."""
    served = call(f"{platform.address('server')}/health", None, {})["models"].get(MODEL, {"version": None})
    return served if served["version"] else None


def names_its_code(platform: Composed, made: dict[str, Any]) -> None:
    """The run's page: the bundle, and a link to its files as they ran, which MLflow has."""
    run = runs_of(platform)[0]
    source = verdict(platform, run["id"], f"{MODEL}-source")
    assert made["bundle"] in source and "/artifacts/source" in source
    tracked = source.partition("/runs/")[2].partition("/")[0]
    files = mlflow(platform, f"artifacts/list?run_id={tracked}&path=source/code")["files"]
    assert {file["path"] for file in files} >= {"source/code/churn.py", "source/code/helpers.py"}


def verdict(platform: Composed, run: str, key: str = f"{MODEL}-verdict") -> str:
    body = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
    left: Any = prefect(platform, "artifacts/filter", body)
    return str(left[-1]["data"]) if left else ""


def by_schedule(platform: Composed, decision: str) -> str | None:
    """What a run that nobody started came to, once one came to this."""
    for run in runs_of(platform):
        if run["state_type"] == "COMPLETED" and "auto-scheduled" in run["tags"]:
            assert run["name"].startswith(f"{MODEL}-")
            if f": {decision}" in (said := verdict(platform, run["id"])):
                return said
    return None


def a_flipped_byte_is_refused(platform: Composed, laptop: Laptop, made: dict[str, Any]) -> None:
    """In the store, of the file that is imported first; a home that has not the bundle would fetch it."""
    key = f"store/bundles/{made['bundle']}/{sha256_of(laptop.file)}"
    with contextlib.closing(s3_client(platform)) as client:
        body = bytearray(client.get_object(Bucket="slipway", Key=key)["Body"].read())
        body[10] ^= 1
        client.put_object(Bucket="slipway", Key=key, Body=bytes(body))
    fresh = {"SLIPWAY_HOME": str(laptop.folder / "fresh")}
    said = laptop.slipway("settings", f"bundle:{made['bundle']}", code=1, **fresh)["error"]
    assert "store" in said or "digest" in said, said
