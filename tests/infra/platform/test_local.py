"""`slipway up`, all of it, as a person uses it: the pages in a browser, a schedule, Ctrl-C in the middle of a run."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from platform_process import ROOT, Platform
from said import said, stumbles

from tasks.workloads.catalogue import names

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCREENS = ROOT / ".slipway" / "screenshots"
POLICY = "models: {default: {approval: manual}}\n"
WORKLOAD = """
from pathlib import Path
import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from tasks.config import Train
from tasks.workloads import Workload


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, point):
        return self.layer(point)


workload = Workload(
    name="digits",  # the server waits for a model of this name
    kind="classification",
    load=lambda: pd.read_csv(Path(__file__).parent / "rows.csv"),
    schema=pa.DataFrameSchema({"x": pa.Column(float), "y": pa.Column(float), "label": pa.Column(int)}),
    target="label",
    inputs=lambda rows: {"point": rows[["x", "y"]].to_numpy(np.float32)},
    model=Line,
    recipes=(),
    train=Train(epochs=3, lr=0.05, threads=1),
)
"""
ENDLESS = """
import time
from dataclasses import replace
from pathlib import Path
from tasks.workloads.examples.digits import workload as digits


def load():
    Path(__file__).with_suffix(".loading").touch()
    time.sleep(3600)


workload = replace(digits, name="endless", load=load)
"""
EMPTY = """
from dataclasses import replace
from tasks.workloads.examples.digits import load_frame, workload as digits

workload = replace(digits, name="empty", load=lambda: load_frame().head(0))
"""

NIGHTLY = ("digits", "flights", "glosses", "cells")
"""What is retrained each night of what comes along; the rest is picked on retrain/any."""

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person works: a policy, a workload of one's own, its rows."""
    made = tmp_path_factory.mktemp("mine")
    (made / "mlflow.yaml").write_text(POLICY)
    (made / "mine.py").write_text(WORKLOAD)
    (made / "rows.csv").write_text("x,y,label\n")
    add_rows(made, 0)
    return made


@pytest.fixture(scope="module")
def platform(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path
) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("platform") / "home"
    home.mkdir()
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    first = 20_000 + os.getpid() % 1000 * 10  # two of these may start at once
    usual = {name: first + place for place, name in enumerate(("prefect", "worker", "mlflow", "server"))}
    (home / "ports.json").write_text(json.dumps(usual))
    with Platform(home, folder) as process:
        yield process


def add_rows(folder: Path, salt: int) -> None:
    """400 points of the plane, and whether each is below the diagonal."""
    with (folder / "rows.csv").open("a") as file:
        for row in range(400):
            x, y = (row * 37 + salt) % 101 / 101, (row * 53 + salt) % 97 / 97
            file.write(f"{x},{y},{int(x > y)}\n")


def test_all_of_it_is_up_on_loopback_with_a_deployment_for_each_workload(platform: Platform) -> None:
    code, status = platform.status()
    assert (code, status["up"], {part["state"] for part in status["parts"]}) == (0, True, {"up"})
    assert set(platform.addresses) == {"prefect", "mlflow", "server"}
    assert set(status["serves"]) == set(names()) and set(status["serves"].values()) == {None}

    deployed = {
        (made["entrypoint"].rpartition(".")[2], made["name"]) for made in platform.ask("/deployments/filter")
    }
    assert {name for flow, name in deployed if flow == "retrain"} == {*NIGHTLY, "any"}
    assert {(name, name) for name in ("promote", "rollback", "refuse")} <= deployed
    assert {name for flow, name in deployed if flow == "monitor"} == {*NIGHTLY}
    listening = {
        connection.laddr.ip
        for process in platform.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)")
def test_a_person_starts_a_run_in_the_form_reads_what_it_found_and_approves_it(platform: Platform) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    SCREENS.mkdir(parents=True, exist_ok=True)
    prefect, wrong = platform.addresses["prefect"], list[str]()
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(300_000)

        page.goto(f"{prefect}/deployments/deployment/{platform.deployment('retrain/any')['id']}/run")
        field(page, "file (Optional)").locator("textarea").fill("mine.py")
        field(page, "Epochs (Optional)").locator("input").fill("4")
        shot(page, "form")
        submit(page.get_by_role("button", name="Submit"))
        run = platform.until(lambda: platform.runs("retrain/any"), "the run")[0]["id"]

        ended = platform.ended(run)
        assert ended["state_type"] == "COMPLETED" and ended["parameters"]["training"] == {"epochs": 4}
        assert ended["name"].startswith("mine-") and ": registered v1, accuracy " in ended["name"]
        assert ended["state"]["message"] in ended["name"]
        said = platform.logs(run)
        assert any(line.startswith("train: ran in ") for line in said) and not any(
            "Timeout" in line for line in said
        )
        page.goto(f"{prefect}/runs/flow-run/{run}")
        page.get_by_text("Completed", exact=True).first.wait_for()
        page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).first.click()
        page.get_by_role("link", name="digits-verdict").first.click()
        page.get_by_text("digits version 1: registered").wait_for()
        shot(page, "verdict")

        question = platform.until(lambda: asked(platform), "somebody to be asked")
        page.goto(f"{prefect}/runs/flow-run/{question}")
        page.get_by_role("button", name="Resume").click()
        decision = field(page, "Decision").locator("button.p-select-button__control")
        decision.press("ArrowDown")
        page.locator(".p-select-option", has_text="approve").click()
        field(page, "Who").locator("textarea").fill("Ada")
        field(page, "Why").locator("textarea").fill("its first proof is whole")
        shot(page, "question")
        submit(page.locator(".p-modal").get_by_role("button", name="Submit"))
        assert platform.ended(question)["state_type"] == "COMPLETED"

        mlflow = platform.addresses["mlflow"]
        page.goto(mlflow)
        page.get_by_text("Recent Experiments").wait_for()
        assert page.get_by_text("Prompts").count() == 0 and page.get_by_text("usage data").count() == 0
        assert not page.locator("[data-assistant-ui]").filter(visible=True).count()
        page.goto(f"{mlflow}/#/experiments/1/runs?viewStateShareKey=slipway")
        for column in ("score", "slipway.verdict", "slipway.decision", "slipway.picked"):
            page.get_by_text(column, exact=True).first.wait_for()
        shot(page, "runs")
        page.goto(f"{mlflow}/#/models/digits")
        page.get_by_text("Ask it").wait_for()
        page.get_by_text("champion").first.wait_for()
        shot(page, "champion")
        platform.until(lambda: platform.status()[1]["serves"]["digits"] == "1", "the server to serve it")

        ours = browser.new_page()
        ours.on("pageerror", lambda error: wrong.append(str(error)))
        ours.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        ours.goto(platform.addresses["server"])
        ours.get_by_text("version 1 serves").wait_for(timeout=300_000)
        ours.get_by_role("link", name="Try a model").click()
        ours.get_by_text("version 1", exact=True).first.wait_for(timeout=300_000)
        assert ours.get_by_text("waiting for a version").count() == 0
        top, others = (
            ours.get_by_role("heading", name=name, exact=True).bounding_box() for name in ("digits", "cells")
        )
        assert top is not None and others is not None and top["y"] < others["y"], "what serves comes first"
        browser.close()
    assert wrong == []


def test_a_schedule_finds_nothing_new_and_retrains_when_rows_arrive(platform: Platform, folder: Path) -> None:
    deployment = platform.deployment("retrain/any")["id"]
    schedule = {
        "active": True,
        "schedule": {"interval": 30},
        "parameters": {"file": "mine.py", "training": {"epochs": 4}},
    }
    made = platform.ask(f"/deployments/{deployment}/schedules", [schedule])[0]["id"]
    try:
        name = platform.until(lambda: scheduled(platform, "unchanged"), "a run with nothing to do")
        assert name.startswith("mine-") and ": unchanged: " in name
        before = len(versions(platform))
        add_rows(folder, 11)
        platform.until(lambda: len(versions(platform)) > before, "a version made of the new rows")
    finally:
        platform.ask(f"/deployments/{deployment}/schedules/{made}", method="DELETE")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)")
def test_a_person_refuses_from_the_first_page_compares_goes_back_and_sees_a_drift_retrain(
    platform: Platform, folder: Path
) -> None:
    """Each step begins at the first page, and what came of it stands there."""
    sync = pytest.importorskip("playwright.sync_api")
    platform.until(lambda: asked(platform), "somebody to be asked about the newest version")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(300_000)
        refuse_from_the_first_page(platform, page)
        compare(platform, page)
        promote_after_all(platform, page)
        go_back(platform, page)
        drift(platform, page, folder)
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(platform.addresses["server"])
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shot(page, "models-390")
        browser.close()


def refuse_from_the_first_page(platform: Platform, page: "Page") -> None:
    """The link opens the form by itself, in Prefect's older pages and in its newer ones."""
    reads(platform, page, "1 waiting for an answer")
    shot(page, "models")
    form = page.get_by_role("link", name="Answer it in Prefect").get_attribute("href")
    assert form is not None and form.endswith("#answer")
    newer = form.replace("/runs/", "/v2/runs/")
    page.goto(newer)
    page.get_by_text("Provide input to resume").wait_for()
    shot(page, "question-newer")
    page.goto(form)
    decision = field(page, "Decision").locator("button.p-select-button__control")
    decision.press("ArrowDown")
    page.locator(".p-select-option", has_text="refuse").click()
    field(page, "Who").locator("textarea").fill("Ada")
    field(page, "Why").locator("textarea").fill("not before the holidays")
    question = asked(platform)
    submit(page.locator(".p-modal").get_by_role("button", name="Submit"))
    ended = platform.ended(question)
    assert (ended["state_type"], ended["state_name"]) == ("COMPLETED", "Declined")
    reads(platform, page, "nobody is asked anything", "Ada refused version", "not before the holidays")


def compare(platform: Platform, page: "Page") -> None:
    """Two runs of the model side by side in MLflow."""
    experiment = "1"
    with sqlite3.connect(f"file:{platform.home / 'mlflow.db'}?mode=ro", uri=True) as database:
        query = "select run_uuid from runs where experiment_id = ? order by start_time limit 2"
        runs = [row[0] for row in database.execute(query, (experiment,))]
    database.close()
    asked = f"runs={json.dumps(runs)}&experiments={json.dumps([experiment])}"
    page.goto(f"{platform.addresses['mlflow']}/#/compare-runs?{asked}")
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    page.get_by_text("score", exact=True).first.wait_for()
    shot(page, "compare")


def promote_after_all(platform: Platform, page: "Page") -> None:
    """What was refused is let through by a command beside the platform."""
    newest = str(max(int(version) for (version,) in versions(platform)))
    words = ["promote", "digits", newest, "--reason", "after all", "--who", "Ada"]
    done = platform.slipway(*words)
    assert done.returncode == 0, done.stderr
    reads(platform, page, f"version {newest} serves", "by Ada (claimed): after all")


def go_back(platform: Platform, page: "Page") -> None:
    """By the form, with the version left empty: the one before."""
    deployment = platform.deployment("rollback/rollback")["id"]
    page.goto(f"{platform.addresses['prefect']}/deployments/deployment/{deployment}/run")
    field(page, "model").locator("textarea, input").first.fill("digits")
    field(page, "reason").locator("textarea").fill("it was better before")
    field(page, "who (Optional)").locator("textarea").fill("Grace")
    submit(page.get_by_role("button", name="Submit"))
    run = platform.until(lambda: platform.runs("rollback/rollback"), "the run")[0]["id"]
    assert platform.ended(run)["state_type"] == "COMPLETED"
    reads(platform, page, "version 1 serves", "by Grace (claimed): it was better before")
    code, status = platform.status()
    assert (
        code == 0
        and status["statuses"]["digits"]["champion"]["said"] == "by Grace (claimed): it was better before"
    )


def drift(platform: Platform, page: "Page", folder: Path) -> None:
    """Requests from another world: watching says so, and the retraining that follows says what it was for."""
    body = json.dumps({"inputs": {"point": [[5.0 + row / 400, -3.0] for row in range(16)]}}).encode()
    request = urllib.request.Request(
        f"{platform.addresses['server']}/models/digits/invocations",
        body,
        {"Content-Type": "application/json"},
    )
    for _ in range(20):
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
    recorded = platform.home / "traffic" / "digits"
    platform.until(lambda: any(recorded.glob("*/*/*.jsonl.gz")), "the requests to be recorded")
    watched = platform.ended(platform.start("monitor/digits", {"model": "digits"}))
    assert watched["state_type"] == "COMPLETED" and "drifted" in watched["name"]
    run = platform.until(
        lambda: [run for run in platform.runs("retrain/any") if run["parameters"].get("reason")],
        "a retraining",
    )[0]
    assert "version 1: 2 of 2 inputs drifted" in run["parameters"]["reason"]
    assert platform.ended(run["id"])["state_type"] == "COMPLETED"
    reads(platform, page, "v1 drifted", "Started because of version 1: ")
    shot(page, "models-drift")


def reads(platform: Platform, page: "Page", *texts: str) -> None:
    """The first page, as soon as it says all of this; what flows say takes a look at the registry to arrive."""

    def said() -> bool:
        page.goto(platform.addresses["server"])
        text = page.locator("main").inner_text()
        return all(each in text for each in texts)

    platform.until(said, f"the first page to say {texts}")


def test_a_first_run_that_fails_stands_on_the_first_page_and_in_status_with_a_link(
    platform: Platform, folder: Path
) -> None:
    (folder / "empty.py").write_text(EMPTY)
    run = platform.start("retrain/any", {"file": "empty.py"})
    ended = platform.ended(run)
    assert ended["state_type"] == "FAILED" and "gave no rows" in ended["state"]["message"]
    assert not any("Traceback" in line for line in platform.logs(run))
    page = f"{platform.addresses['prefect']}/runs/flow-run/{run}"
    platform.until(
        lambda: page in (text := first_page(platform)) and "gave no rows" in text, "the first page to say it"
    )
    failed = platform.status()[1]["statuses"]["empty"]["run"]
    assert failed["tone"] == "bad" and "gave no rows" in failed["said"]


def test_no_page_names_a_path_of_this_machine_ends_in_two_full_stops_or_says_another_champion(
    platform: Platform, folder: Path
) -> None:
    """Of all that runs, versions, reports and pages have said until now."""
    paths = [str(platform.home), str(folder), str(ROOT), sys.prefix]
    texts = list(said(platform.home, platform.ask, first_page(platform)))
    assert len(texts) > 50
    assert [(where, found) for where, text in texts for found in stumbles(text, paths)] == []
    serves = platform.status()[1]["serves"]["digits"]
    assert f"version {serves} serves" in dict(texts)["the first page"]
    told = dict(texts)["MLflow's page of digits"]
    assert "**champion** serves" in told, "which version that is, its alias says"
    assert not re.search(r"(?i)no champion|version \d+ serves", told)


def first_page(platform: Platform) -> str:
    with urllib.request.urlopen(platform.addresses["server"], timeout=60) as answer:
        return str(answer.read().decode())


def test_ctrl_c_in_the_middle_of_a_run_leaves_nothing_behind(platform: Platform, folder: Path) -> None:
    (folder / "endless.py").write_text(ENDLESS)
    run = platform.start("retrain/digits", {"file": "endless.py"})
    platform.until((folder / "endless.loading").exists, "the run to load its rows")
    processes = platform.processes()
    assert len(processes) >= 7

    assert platform.end(signal.SIGINT) == 130
    assert psutil.wait_procs(processes, timeout=60)[1] == [] and platform.processes() == []
    assert platform.status() == (
        1,
        {
            "up": False,
            "pid": None,
            "parts": [],
            **dict.fromkeys(("serves", "rollouts", "statuses"), {}),
            "deployed": [],
            "loading": [],
        },
    )
    with sqlite3.connect(platform.home / "prefect.db") as database:
        query = "select state_type from flow_run where id = ?"
        assert database.execute(query, (run,)).fetchone() == ("CRASHED",)
    database.close()


def field(page: "Page", label: str) -> "Locator":
    """The innermost field of a form that has this label."""
    return page.locator(".schema-form-property", has=page.get_by_text(label, exact=True)).last


def submit(button: "Locator") -> None:
    """Press until the form goes away: a press while the page still checks a field is lost."""
    from playwright.sync_api import TimeoutError

    for _ in range(10):
        button.click()
        with contextlib.suppress(TimeoutError):
            button.wait_for(state="hidden", timeout=60_000)
            return
    raise AssertionError("the form was not taken")


def shot(page: "Page", name: str) -> None:
    page.screenshot(path=SCREENS / f"platform-{name}.png")


def asked(platform: Platform) -> Any:
    """The run of `promote` that waits for somebody."""
    waiting = [run["id"] for run in platform.runs("promote/promote") if run["state_type"] == "PAUSED"]
    return waiting[0] if waiting else None


def scheduled(platform: Platform, decision: str) -> Any:
    """The name of a run that the schedule started and that ended so."""
    for run in platform.runs("retrain/any"):
        if run["state_type"] == "COMPLETED" and "auto-scheduled" in run["tags"]:
            if f": {decision}" in platform.artifact(run["id"], "markdown"):
                return run["name"]
    return None


def versions(platform: Platform) -> list[Any]:
    """Of the model, in the registry."""
    with sqlite3.connect(f"file:{platform.home / 'mlflow.db'}?mode=ro", uri=True) as database:
        versions = database.execute("select version from model_versions where name = 'digits'").fetchall()
    database.close()
    return versions
