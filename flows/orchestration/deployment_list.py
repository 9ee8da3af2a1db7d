"""The deployments of one's own models: when they run next, and what came of the last run."""

import datetime
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from flows.orchestration.own_deployments import own_deployments
from flows.orchestration.own_parts import schedules_in_words
from tasks.system.frozen import Frozen


class LastRun(Frozen):
    """A deployment's newest run; `came_of_it` is its verdict, or the sentence that it failed with."""

    name: str
    at: datetime.datetime | None
    state: str
    came_of_it: str


class OwnDeployment(Frozen):
    """One model's deployment. `bundle`: its digest; `champion`: the version that serves, None before there is one."""

    name: str
    model: str
    bundle: str
    schedules: tuple[str, ...]
    next_run: datetime.datetime | None
    last_run: LastRun | None
    champion: int | None


class OwnDeployments(Frozen):
    """All of them, by name."""

    deployments: tuple[OwnDeployment, ...]


def listed(client: SyncPrefectClient, champion: Callable[[str], int | None]) -> OwnDeployments:
    """`champion` says a model's champion, if it has one."""
    made = own_deployments(client)
    watched = {each.name: each.parameters.get("model") for each in made if "model" in each.parameters}
    rows = []
    for each in sorted(made, key=lambda each: each.name):
        if "file" not in each.parameters:
            continue
        model = str(watched.get(each.name, each.name))
        rows.append(
            OwnDeployment(
                name=each.name,
                model=model,
                bundle=str(each.parameters["file"]).removeprefix("bundle:"),
                schedules=schedules_in_words(each),
                next_run=_next_run(client, each.id),
                last_run=_last_run(client, each.id),
                champion=champion(model),
            )
        )
    return OwnDeployments(deployments=tuple(rows))


def _next_run(client: SyncPrefectClient, deployment: UUID) -> datetime.datetime | None:
    waiting = {"type": {"any_": ["SCHEDULED"]}}
    run = _first_run(client, deployment, waiting, FlowRunSort.EXPECTED_START_TIME_ASC)
    return None if run is None else run.expected_start_time


def _last_run(client: SyncPrefectClient, deployment: UUID) -> LastRun | None:
    begun = {"type": {"any_": ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"]}}
    run = _first_run(client, deployment, begun, FlowRunSort.EXPECTED_START_TIME_DESC)
    if run is None:
        return None
    state = run.state
    return LastRun(
        name=run.name,
        at=run.start_time,
        state=run.state_name or "",
        came_of_it=_verdict(client, run) or ((state.message or "") if state is not None else ""),
    )


def _verdict(client: SyncPrefectClient, run: FlowRun) -> str:
    """ "version 3: promoted", of the heading that the run left."""
    filled = {"flow_run_id": {"any_": [str(run.id)]}, "key": {"like_": "-verdict"}}
    artifacts = client.read_artifacts(artifact_filter=ArtifactFilter.model_validate(filled))
    heading = str(artifacts[-1].data).partition("\n")[0] if artifacts else ""
    return heading.removeprefix("# ").partition(" ")[2]


def _first_run(
    client: SyncPrefectClient, deployment: UUID, state: dict[str, Any], sort: FlowRunSort
) -> FlowRun | None:
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": state}),
        sort=sort,
        limit=1,
    )
    return runs[0] if runs else None
