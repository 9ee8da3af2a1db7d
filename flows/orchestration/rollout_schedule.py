"""The schedule of `rollout / any`, which is on only while a rollout is open: else the list of runs would be full of nothing."""

import logging

from prefect import get_client
from prefect.settings import PREFECT_API_URL

DEPLOYMENT = "rollout/any"

log = logging.getLogger("slipway")


def switch(*, on: bool) -> None:
    """On or off, where there is a Prefect server; what was decided stands, whether it can be reached or not."""
    if PREFECT_API_URL.value() is None:
        return
    try:
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
            for schedule in deployment.schedules:
                if schedule.active != on:
                    client.update_deployment_schedule(deployment.id, schedule.id, active=on)
    except Exception as error:  # a server that is away, or has no such deployment
        log.warning(
            "The schedule of %s could not be switched %s (%s): `slipway rollout MODEL step` does what it would.",
            DEPLOYMENT,
            "on" if on else "off",
            type(error).__name__,
        )
