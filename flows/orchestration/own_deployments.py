"""Deployments of models of one's own on the Prefect server: made and changed as a whole or not at all, listed, withdrawn."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import yaml
from httpx import HTTPStatusError
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from flows.orchestration.own_parts import (
    FILE,
    Part,
    Wanted,
    differences,
    fields_of,
    kept,
    part_of,
    schedules_in_words,
)
from flows.orchestration.reachability import in_a_sentence
from infra.platform.status import DEPLOYED_TAG
from tasks.errors import StepError, UserError
from tasks.system.frozen import Frozen

FLOWS = ("monitor", "rollout", "retrain")
"""What one model's deployments run, rollout only where its policy has one; the last is the one that people start."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_IMAGE = re.compile(r"\S+@sha256:[0-9a-f]{64}")


class Deployed(Frozen):
    """What became of a deployment. `before`: the bundle that it had; `changes`: what else is otherwise now, a line each."""

    name: str
    address: str
    before: str | None
    created: bool
    changes: tuple[str, ...]
    schedules: tuple[str, ...]


@contextmanager
def prefect_server() -> Iterator[SyncPrefectClient]:
    """A client. Raises StepError in a sentence when there is no server, or it does not take what it is told."""
    if not PREFECT_API_URL.value():
        raise StepError(
            "There is no Prefect server to deploy to: start one with `slipway up`, or name your team's in PREFECT_API_URL."
        )
    try:
        with in_a_sentence(), get_client(sync_client=True) as client:
            yield client
    except HTTPStatusError as error:
        said = " ".join(error.response.text.split())[:300]
        raise StepError(
            f"Prefect refuses it ({error.response.status_code}: {said}); everything is as it was before."
        ) from error


def check_store(store: str | None) -> None:
    """Raise UserError where workers of another machine could not have what stays on this one."""
    host = urlsplit(PREFECT_API_URL.value() or "").hostname
    if store is None and host not in ("127.0.0.1", "localhost", "::1"):
        raise UserError(
            f"The workers of Prefect at {host} cannot fetch a bundle from this machine: set SLIPWAY_STORE to what they share, such as s3://bucket/slipway."
        )


def check(
    client: SyncPrefectClient, wanted: Wanted
) -> tuple[dict[str, DeploymentResponse | None], list[Part]]:
    """The deployments that are there, by their flow, and what they are to be.

    Raises UserError for a name that is another's, a schedule, a pool or an image that makes no sense.
    """
    before = {flow: _read(client, flow, wanted.name) for flow in FLOWS}
    _check_name(wanted, before)
    flows = [flow for flow in FLOWS if flow != "rollout" or wanted.rollout or before[flow] is not None]
    parts = [part_of(flow, wanted, before[flow]) for flow in flows]
    _check_pool(client, parts[-1].fields)
    return before, parts


def deploy(client: SyncPrefectClient, wanted: Wanted) -> Deployed:
    """Create the deployments of one model, or change what is otherwise; if a part fails, all are put back as they were.

    Raises UserError as `check` does.
    """
    before, parts = check(client, wanted)
    old = before["retrain"]
    changed = {part.flow: differences(before[part.flow], part) for part in parts}
    if any(changed.values()):
        _save_all(client, wanted.name, [part for part in parts if changed[part.flow]], before)
    made = _read(client, "retrain", wanted.name)
    assert made is not None
    return Deployed(
        name=wanted.name,
        address=url_for("deployment", made.id) or "",
        before=None if old is None else str(old.parameters.get("file", "")),
        created=old is None,
        changes=() if old is None else tuple(changed["retrain"]),
        schedules=schedules_in_words(made),
    )


def withdraw(client: SyncPrefectClient, name: str) -> str:
    """Remove a model's deployments, all or none; the model's name. Raises UserError where `slipway deploy` made none."""
    before = {flow: _read(client, flow, name) for flow in FLOWS}
    own = {flow: made for flow, made in before.items() if made is not None and DEPLOYED_TAG in made.tags}
    if not own:
        names = ", ".join(sorted({made.name for made in own_deployments(client)})) or "none"
        raise UserError(f"There is no deployment {name!r} that `slipway deploy` made: there are {names}.")
    with _putting_back(client, name, before):
        for made in own.values():
            client.delete_deployment(made.id)
    watched = own.get("monitor")
    return name if watched is None else str(watched.parameters.get("model", name))


def own_deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """All that `slipway deploy` made, of every flow."""
    ours = DeploymentFilter.model_validate({"tags": {"all_": [DEPLOYED_TAG]}})
    made: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=ours, offset=len(made), limit=200):
        made += page
    return made


def _check_name(wanted: Wanted, before: dict[str, DeploymentResponse | None]) -> None:
    if not _NAME.fullmatch(wanted.name):
        raise UserError(
            f"--name {wanted.name!r} is no name for a deployment: use up to 63 small letters, digits, '-' and '_'."
        )
    shipped = {line["name"] for line in yaml.safe_load(FILE.read_text())["deployments"]}
    for flow, made in before.items():
        if wanted.name in shipped or (made is not None and DEPLOYED_TAG not in made.tags):
            raise UserError(
                f"The deployment {flow}/{wanted.name} is not one of `slipway deploy`: choose another --name."
            )
    watched = before["monitor"]
    if watched is not None and (other := watched.parameters.get("model")) != wanted.model:
        raise UserError(
            f"The deployment {wanted.name} is of the model {other}, and this workload's is {wanted.model}: choose another --name, or `slipway withdraw {wanted.name}` first."
        )


def _check_pool(client: SyncPrefectClient, fields: dict[str, Any]) -> None:
    """Raise UserError for a pool that is not there, and for an image that its runs cannot have."""
    name, image = fields["work_pool_name"], fields["job_variables"].get("image")
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound as error:
        there = ", ".join(sorted(pool.name for pool in client.read_work_pools())) or "none"
        raise UserError(
            f"There is no work pool {name!r} on this Prefect server, only {there}: name one with --pool, or `prefect work-pool create {name} --type process` first."
        ) from error
    if image and not _IMAGE.fullmatch(image):
        raise UserError(
            f"--image {image}: name it by its digest, NAME@sha256:…, for a tag may be another image tomorrow."
        )
    if image and pool.type == "process":
        raise UserError(
            f"--image is for pools whose runs are containers, and {name} is of type {pool.type}: leave it out, or name another --pool."
        )


def _save_all(
    client: SyncPrefectClient, name: str, parts: Sequence[Part], before: dict[str, DeploymentResponse | None]
) -> None:
    with _putting_back(client, name, before):
        for part in parts:
            _save(client, name, part)


def _save(client: SyncPrefectClient, name: str, part: Part) -> None:
    """Create, or replace in one transaction of the server's: what Prefect does with a name that is there."""
    flow_id = client.create_flow_from_name(part.flow)
    client.create_deployment(flow_id, name, schedules=part.schedules, **part.fields)


@contextmanager
def _putting_back(
    client: SyncPrefectClient, name: str, before: dict[str, DeploymentResponse | None]
) -> Iterator[None]:
    """Whatever ends what is done within, the deployments are then as they were before."""
    try:
        yield
    except BaseException:
        for flow, old in before.items():
            now = _read(client, flow, name)
            if old is not None and old != now:
                _save(client, name, Part(flow, fields_of(old), kept(old)))
            elif old is None and now is not None:
                client.delete_deployment(now.id)
        raise


def _read(client: SyncPrefectClient, flow: str, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{flow}/{name}")
    except ObjectNotFound:
        return None
