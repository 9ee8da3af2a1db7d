"""The schedules of rollouts, which are on only while one is open: else the list of runs would be full of nothing."""

import logging
from collections.abc import Iterable

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.orchestration.own_deployments import own_deployments

DEPLOYMENT = "rollout/any"

log = logging.getLogger("slipway")


def follow(models: Iterable[str]) -> None:
    """On for `models`, whose rollouts are open, off for all others, where there is a Prefect server.

    A model that has a deployment of its own is looked at by that, the others by `rollout / any`. What was decided stands,
    whether the server can be reached or not.
    """
    if PREFECT_API_URL.value() is None:
        return
    open_ones = set(models)
    try:
        with get_client(sync_client=True) as client:
            for made in own_deployments(client):
                if "rollout" in made.tags:
                    _switch(client, made, on=made.parameters["model"] in open_ones)
                    open_ones.discard(made.parameters["model"])
            _switch_any(client, on=bool(open_ones))
    except Exception as error:  # a server that is away, or has no such deployment
        log.warning(
            "The schedules of rollouts could not be switched (%s): `slipway rollout MODEL step` does what they would.",
            type(error).__name__,
        )


def _switch_any(client: SyncPrefectClient, *, on: bool) -> None:
    try:
        _switch(client, client.read_deployment_by_name(DEPLOYMENT), on=on)
    except ObjectNotFound:
        if on:
            raise


def _switch(client: SyncPrefectClient, made: DeploymentResponse, *, on: bool) -> None:
    for schedule in made.schedules:
        if schedule.active != on:
            client.update_deployment_schedule(made.id, schedule.id, active=on)
