"""A promotion that waits for a person: the run that asks gives its process back, and any other process goes on."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import deployed
import digit_versions
import httpx
import promotions
import pytest
from prefect import get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL

from tasks.promotion.champion import promote as promote_now
from tasks.promotion.ledger import LedgerEntry, read_ledger
from tasks.records import Candidate, Dataset, Version
from tasks.registry.registry import Registry
from tasks.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""Prefect leaves a connection of a run done in this process to the collector."""
Digits = tuple[Dataset, Candidate]
PATIENT = "models: {digits: {approval: manual}}"


@pytest.fixture
def registry(
    home: Path,
    tmp_path: Path,
    empty_mlflow_database: Path,
    prefect_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Registry]:
    """A registry whose policy for the digits is a person's approval, and a Prefect server with our deployments."""
    from flows.promote import promote, refuse

    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    (tmp_path / "mlflow.yaml").write_text(PATIENT)
    monkeypatch.chdir(tmp_path)
    with deployed.talking_to(prefect_server, home):
        deployed.deploy(promote, "promote")
        deployed.deploy(refuse, "refuse")
        yield Registry(load_settings())


def ask_about(version: int) -> FlowRun:
    return deployed.start("promote/promote", model="digits", version=version, reason="nightly")


def state_of(run: FlowRun) -> tuple[StateType, str]:
    assert run.state is not None
    return run.state.type, run.state.message or ""


def said_to_wait(run: FlowRun) -> bool:
    """Whether the event came that infra/automations/lost-runs.yaml looks for, about this run and with its tag."""
    about = {
        "event": {"name": ["slipway.question.asked"]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    answer = httpx.post(f"{PREFECT_API_URL.value()}/events/filter", json={"filter": about})
    return any("prefect.tag.slipway" in str(event["related"]) for event in answer.json()["events"])


def last_entry(registry: Registry) -> LedgerEntry:
    return read_ledger(registry, "digits").entries[-1]


def toys(registry: Registry) -> None:
    """Two versions that need no rows: the first serves, the second passed against it."""
    home = registry.settings.home
    promote_now(registry, promotions.register(registry, "digits", home, 1.0), against=None, why="the first")
    promotions.register(registry, "digits", home, 2.0, champion=1)


@pytest.mark.slow
def test_a_run_waits_without_a_process_and_another_process_goes_on(
    registry: Registry, prefect_server: str, home: Path
) -> None:
    from flows.promote import promote

    toys(registry)
    run = deployed.work(ask_about(2), promote)
    assert run.state is not None and run.state.name == "Suspended" and run.state.type == StateType.PAUSED
    deployed.wait_until(lambda: said_to_wait(run), "nothing says that its silence is no loss")
    page = Artifact.get("digits-question")
    assert page is not None and "Promote digits version 2, in place of version 1?" in str(page.data)
    with get_client(sync_client=True) as client:
        incomplete = client.resume_flow_run(run.id, run_input={"who": "ada"})
    assert incomplete.status == SetStateStatus.REJECT and "decision" in str(incomplete.details)
    deployed.answer(run, "approve", "ada", "checked by hand")
    assert deployed.process_of(run, prefect_server, home).wait(deployed.PATIENCE) == 0
    assert state_of(deployed.again(run))[0] == StateType.COMPLETED
    entry = last_entry(registry)
    assert (entry.action, entry.to_version, entry.who, entry.why) == ("promote", 2, "ada", "checked by hand")


def expires(refusals: UUID, before: int, promote: Any) -> bool:
    """Whether a question that nobody answers starts a refusal.

    On SQLite Prefect finds its own database locked now and then, gives an event up after four tries within a tenth of a
    second, and hears of those that follow it a quarter of an hour later.
    """
    run = deployed.work(ask_about(2), promote)
    deployed.wait_until(
        lambda: state_of(deployed.again(run))[0] == StateType.FAILED, "the question did not expire"
    )
    try:
        deployed.wait_until(lambda: len(deployed.runs_of(refusals)) > before, "nobody refuses", 60)
    except AssertionError:
        return False
    return True


@pytest.mark.slow
def test_a_question_that_nobody_answers_is_a_refusal(registry: Registry, tmp_path: Path, home: Path) -> None:
    from flows.promote import promote, refuse
    from flows.retrain import retrain

    toys(registry)
    deployed.deploy(retrain, "any")
    (tmp_path / "mlflow.yaml").write_text("models: {digits: {approval: manual, patience_days: 0.00003}}")
    refusals = deployed.deploy(refuse, "refuse")
    before, attempts = len(deployed.runs_of(refusals)), 3
    with deployed.automated() as receiver:
        while not expires(refusals, before, promote):
            attempts -= 1
            assert attempts, "nobody refuses"
        asked = next(run for run in deployed.runs_of(refusals) if run.state and run.state.is_scheduled())
        deployed.work(asked, refuse)
        entry = last_entry(registry)
        assert (entry.action, entry.to_version, entry.who) == ("refuse", 2, "slipway")
        assert entry.why == "nobody answered the question in time" and entry.verdict == "pass"
        told = receiver.wait_for("slipway.version.refused", "nobody answered")
        said = "slipway (claimed): nobody answered the question in time"  # as any name that comes by way of Prefect
        assert told["text"] == f"digits: version 2 was refused. {said}"
    assert read_ledger(registry, "digits").serving == 1


@pytest.mark.slow
def test_an_approval_after_the_champion_changed_is_judged_against_the_new_one(
    registry: Registry, linear_digits: Digits
) -> None:
    from flows.promote import promote

    first = digit_versions.register(registry, *linear_digits, noise=0.3)
    promote_now(registry, first, against=None, why="the first")
    digit_versions.register(registry, *linear_digits, noise=0.2, champion=1)
    best = digit_versions.register(registry, *linear_digits, champion=1)
    run = deployed.work(ask_about(2), promote)
    promote_now(registry, best, against=1, why="it was quicker")
    deployed.answer(run, "approve", "ada", "it was good yesterday")
    kind, message = state_of(deployed.work(run, promote))
    assert kind == StateType.FAILED and "worse than champion v3 on the same" in message, message
    entry = last_entry(registry)
    assert (entry.action, entry.to_version, entry.who, entry.verdict) == ("refuse", 2, "ada", "fail")
    assert read_ledger(registry, "digits").serving == 3


@pytest.mark.slow
def test_retrain_asks_in_a_run_of_its_own_and_takes_an_older_question_back(registry: Registry) -> None:
    from prefect import flow

    from flows.orchestration.approval import start_asking
    from flows.promote import promote

    toys(registry)
    second = registry.version("digits", 2)
    assert second is not None
    assert start_asking(second) == 'to make it the champion: slipway promote digits 2 --reason "…"'

    @flow(name="asks")
    def asks(version: int) -> str:
        return start_asking(second.model_copy(update={"version": version}))

    deployed.deploy(asks, "asks")

    def ask(version: int) -> str:
        run = deployed.start("asks/asks", version=version)
        return str(run_flow(asks, flow_run=run, parameters=run.parameters))

    assert ask(2).startswith("a person is asked: ")
    [question] = waiting()
    assert question.parameters["version"] == 2
    deployed.work(question, promote)
    assert waiting() == []
    ask(2)
    assert waiting() == []  # asked once
    ask(3)
    kind, message = state_of(deployed.again(question))
    assert kind == StateType.CANCELLED and "Version 3 is newer" in message
    assert [run.parameters["version"] for run in waiting()] == [3]


def waiting() -> list[FlowRun]:
    """Questions that no worker has taken yet."""
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=["asks-about-digits"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=wanted)


@pytest.mark.slow
def test_the_run_that_asks_fits_the_form_of_its_deployment_whether_or_not_it_is_told_to_ask(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.orchestration.approval import start_asking

    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "one")
    for number, ask in enumerate((None, True), 1):
        version = Version(model="asked", version=number, sha256="a" * 64, run_id=f"{number}" * 32)
        assert start_asking(version, ask=ask).startswith("a person is asked: ")
