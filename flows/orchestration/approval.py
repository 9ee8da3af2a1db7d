"""Asking a person: a run that waits with the question in the UI, and the run that retrain starts to ask it."""

from typing import Literal, cast

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound, Pause
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled
from prefect.utilities.urls import url_for
from pydantic import Field

from tasks.records import Version

DEPLOYMENT = "promote/promote"


class Approval(RunInput):
    """What whoever decides is asked for."""

    decision: Literal["approve", "refuse"] = Field(
        description="approve: this version becomes the champion, if the gate still lets it. refuse: it does not."
    )
    who: str = Field(min_length=1, max_length=200, description="Your name; kept in the ledger.")
    why: str = Field(min_length=1, max_length=2000, description="Why; kept in the ledger.")


def ask(text: str, days: float, before: int = 0) -> Approval:
    """Ask in the UI. A deployed run gives its worker back meanwhile, and begins anew when it is resumed; `before`: how often it has asked already."""
    key = f"approval-{before}" if before else "approval"
    form = Approval.with_initial_data(description=text)
    seconds = round(days * 24 * 3600)
    if deployment.id:
        try:
            answer = suspend_flow_run(wait_for_input=form, timeout=seconds, key=key)
        except Pause:
            _say_that_it_waits()
            raise
    else:
        answer = pause_flow_run(wait_for_input=form, timeout=seconds, poll_interval=2, key=key)
    return Approval.model_validate(answer.model_dump())


def _say_that_it_waits() -> None:
    """A heartbeat under way may arrive after the suspension, and silence after a heartbeat is a lost run (infra/automations).

    What one process sends arrives in order, so that this comes after it.
    """
    emit_event("slipway.question.asked", resource={"prefect.resource.id": f"prefect.flow-run.{flow_run.id}"})


def start_asking(
    version: Version, reason: str = "made by retrain", *, ask: bool | None = None, about: str = ""
) -> str:
    """From a deployed run, start the one that asks about `version`; in a sentence, where it waits, or how to decide here.

    It is asked once; again when it is `about` something else. A question about an older version of the model that nobody has
    answered is taken back.
    """
    command = f'slipway promote {version.model} {version.version} --reason "…"'
    if not deployment.id:
        return f"to make it the champion: {command}"
    tag = f"asks-about-{version.model}"
    asked = {"model": version.model, "version": version.version, "reason": reason}
    if ask is not None:  # an empty field is left out: Prefect's form of it takes no null
        asked["ask"] = ask
    try:
        with get_client(sync_client=True) as client:
            _take_back(client, tag, version)
        started = run_deployment(
            DEPLOYMENT,
            parameters=asked,
            tags=[tag],
            idempotency_key=f"{tag}-{version.version}-{about or version.run_id}",
            timeout=0,
            as_subflow=False,
        )
    except ObjectNotFound:
        return f"there is no deployment {DEPLOYMENT} to ask in; to make it the champion: {command}"
    run = cast(FlowRun, started)
    return f"a person is asked: {url_for('flow-run', obj_id=run.id) or run.name}"


def _take_back(client: SyncPrefectClient, tag: str, newer: Version) -> None:
    names = ["Suspended", "Scheduled", "Late"]  # not one that was answered: "Resuming"
    waiting = {"tags": {"all_": [tag]}, "state": {"name": {"any_": names}}}
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(waiting)):
        if run.parameters.get("version") != newer.version:
            message = f"Version {newer.version} is newer, and is asked about instead."
            state: State[None] = Cancelled(message=message)
            client.set_flow_run_state(run.id, state, force=True)
