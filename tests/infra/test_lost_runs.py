"""infra/automations/lost-runs.yaml on a real Prefect server: which crashed runs are started again, and as what."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import deployed
import pytest
from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import Event
from prefect.events.schemas.automations import AutomationCore
from prefect.schedules import Interval
from prefect.states import (
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Running,
    Scheduled,
    Suspended,
)

from flows.orchestration import automations
from flows.promote import DECLINED

DEFAULTS = {"file": "as deployed", "training": {}, "recipes": None}
OWN = {"training": {"epochs": 3, "lr": 1e-05, "groups": {"<&'\"> {{ a }} ü": 0}, "patience": None}}
"""What a schedule asks for that its deployment does not, as JSON and templates may spoil it."""


@flow(name="trains-at-night")
def trains(file: str, training: dict[str, Any], recipes: list[str] | None) -> None:
    assert {"training": training, "recipes": recipes} == {**OWN, "recipes": None}


@pytest.fixture
def nightly(prefect_server: str, home: Path) -> Iterator[Any]:
    """A deployment with a schedule whose runs Prefect makes, and our automations."""
    from flows.promote import refuse

    with deployed.talking_to(prefect_server, home):
        deployed.deploy(refuse, "refuse")
        schedule = Interval(timedelta(hours=1), parameters=OWN)
        made = deployed.deploy(trains, "nightly", parameters=DEFAULTS, schedule=schedule)
        with deployed.automated():
            yield made
        with get_client(sync_client=True) as client:
            client.delete_deployment(made)


def test_a_scheduled_run_that_crashes_is_started_again_once_as_it_was(nightly: Any) -> None:
    [scheduled, *_] = deployed.wait_until(lambda: of_schedule(nightly), "the schedule makes no runs")
    assert scheduled.parameters == {**DEFAULTS, **OWN}
    lost, first = crashed_and_resumed(scheduled, "first")
    assert first.parameters == lost.parameters and first.tags == ["slipway"]
    assert first.created_by is not None and first.created_by.display_value == "slipway-resume"

    moved(lost, Scheduled(), Running(), Crashed())  # a person tried it again
    moved(first, Running(), Crashed())
    moved(like(scheduled, "cancelled"), Running(), Cancelling(), Crashed())
    moved(deployed.start("trains-at-night/nightly", **OWN, file="by a person"), Running(), Crashed())
    _, last = crashed_and_resumed(scheduled, "last")
    made = sorted(run.parameters["file"] for run in deployed.runs_of(nightly) if not of_a_schedule(run))
    assert made == ["by a person", "first", "last"]
    ended = deployed.work(last, trains)
    assert ended.state is not None and ended.state.is_completed(), ended.state


def crashed_and_resumed(scheduled: FlowRun, file: str) -> tuple[FlowRun, FlowRun]:
    """A run that crashed, and the one that was made thereupon.

    On SQLite Prefect finds its own database locked now and then, and gives an event up: then another run has to crash.
    """

    def resumed() -> list[FlowRun]:
        runs = deployed.runs_of(scheduled.deployment_id)
        return [run for run in runs if run.parameters["file"] == file and not of_a_schedule(run)]

    for _ in range(3):
        lost = like(scheduled, file)
        moved(lost, Running(), Crashed())
        with suppress(AssertionError):
            return lost, deployed.wait_until(resumed, "nothing is started again", 60)[0]
    raise AssertionError("nothing is started again")


def like(scheduled: FlowRun, file: str) -> FlowRun:
    """A run as Prefect's scheduler makes it, but of a file of its own, and there is an event of it.

    Events of a run that begins within five minutes after the scheduler made it wait a quarter of an hour for that one.
    """
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(
            scheduled.deployment_id, parameters={**scheduled.parameters, "file": file}, tags=scheduled.tags
        )


def moved(run: FlowRun, *states: "State[Any]") -> None:
    """As its process and its worker would tell the server."""
    with get_client(sync_client=True) as client:
        for state in states:
            client.set_flow_run_state(run.id, state, force=True)


def of_schedule(deployment: Any) -> list[FlowRun]:
    return [run for run in deployed.runs_of(deployment) if of_a_schedule(run)]


def of_a_schedule(run: FlowRun) -> bool:
    return "auto-scheduled" in run.tags


@flow(name="beats")
def beats() -> None:
    pass


def test_only_a_run_that_falls_silent_is_taken_for_lost_and_none_that_ended_waits_or_was_never_ours(
    prefect_server: str, home: Path
) -> None:
    """The automation as it ships, but for how long it waits; all that a run of ours may come to after a heartbeat."""
    [shipped] = [each for each in automations.read(automations.FOLDER) if each["name"] == "slipway-lost-runs"]
    shipped["trigger"]["within"] = 10  # no shorter one is taken
    ends: dict[str, State[Any] | None] = {
        "completed": Completed(),
        "declined": Completed(name=DECLINED),
        "failed": Failed(),
        "timed out": Failed(name="TimedOut"),
        "cancelled": Cancelled(),
        "being cancelled": Cancelling(),
        "waits for a person": Suspended(),
        "goes on": None,
        "not ours": None,
        "lost": None,
    }
    with (
        deployed.automating(),
        deployed.talking_to(prefect_server, home),
        get_client(sync_client=True) as client,
    ):
        runs = {
            name: client.create_flow_run(beats, tags=[] if name == "not ours" else ["slipway"])
            for name in ends
        }
        shipped["trigger"]["match"] = {  # other tests' runs beat, too
            "prefect.resource.id": [f"prefect.flow-run.{run.id}" for run in runs.values()]
        }
        made = client.create_automation(AutomationCore.model_validate(shipped))
        try:
            for name, end in ends.items():
                moved(runs[name], Running())
                beat(runs[name], ours=name != "not ours")
                if end is not None:
                    moved(runs[name], end)

            def lost() -> bool:
                beat(runs["goes on"], ours=True)
                return state_name(runs["lost"]) == "Crashed"

            deployed.wait_until(lost, "what is lost is not marked")
            beat(runs["goes on"], ours=True)
            time.sleep(6)  # the next look
            crashed = {name for name, run in runs.items() if state_name(run) == "Crashed"}
            assert crashed == {"lost"}
        finally:
            client.delete_automation(made)


def beat(run: FlowRun, *, ours: bool) -> None:
    """What a run's process says every half minute; posted here, for Prefect's client adds what it knows of runs in this process."""
    related = [{"prefect.resource.id": "prefect.tag.slipway", "prefect.resource.role": "tag"}] if ours else []
    about = {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name}
    event = Event.model_validate(
        {"event": "prefect.flow-run.heartbeat", "resource": about, "related": related}
    )
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()


def state_name(run: FlowRun) -> str:
    state = deployed.again(run).state
    return state.name or "" if state is not None else ""
