"""Deployments of models of one's own on the Prefect server: made and changed as a whole or not at all, listed, withdrawn."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from httpx import HTTPStatusError
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for
from pydantic import ValidationError

from flows.orchestration.own_form import in_words
from flows.orchestration.reachability import in_a_sentence
from infra.platform.status import DEPLOYED_TAG
from tasks.errors import StepError, UserError
from tasks.system.frozen import Frozen

POOL = "slipway"

FILE = Path(__file__).parent.parent.parent / "infra" / "prefect.yaml"

FLOWS = ("monitor", "retrain")
"""What one model's deployments run; the last is the one that people start."""

_SLUG = "cron"
"""Of the schedule that `slipway deploy --cron` made; others are a person's."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_IMAGE = re.compile(r"\S+@sha256:[0-9a-f]{64}")


class Wanted(Frozen):
    """What a deployment is to be; None leaves that as it was, or as infra/prefect.yaml has it."""

    name: str
    model: str
    reference: str
    form: dict[str, Any]
    parameters: dict[str, Any] | None = None
    cron: str | None = None
    timezone: str = "UTC"
    pool: str | None = None
    image: str | None = None


class Deployed(Frozen):
    """What became of a deployment. `before`: the bundle that it had; `changes`: what else is otherwise now, a line each."""

    name: str
    address: str
    before: str | None
    created: bool
    changes: tuple[str, ...]
    schedules: tuple[str, ...]


class Part(NamedTuple):
    """One deployment of Prefect's: its flow, and what the client's `create_deployment` takes."""

    flow: str
    fields: dict[str, Any]
    schedules: list[DeploymentScheduleCreate]


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


def deploy(client: SyncPrefectClient, wanted: Wanted) -> Deployed:
    """Create the deployments of one model, or change what is otherwise; if a part fails, all are put back as they were.

    Raises UserError for a name that is another's, a schedule, a pool or an image that makes no sense.
    """
    before = {flow: _read(client, flow, wanted.name) for flow in FLOWS}
    _check_name(wanted, before)
    parts = [_part(flow, wanted, before[flow]) for flow in FLOWS]
    _check_pool(client, parts[-1].fields)
    old = before["retrain"]
    changed = {part.flow: _differences(before[part.flow], part) for part in parts}
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


def schedules_in_words(made: DeploymentResponse) -> tuple[str, ...]:
    """0 2 * * * UTC, paused."""
    return tuple(_in_words(schedule.schedule, schedule.active) for schedule in made.schedules)


def _in_words(schedule: Any, active: bool | None) -> str:
    words = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None)
    every = f"every {schedule.interval}" if words is None else str(words)
    zone = getattr(schedule, "timezone", None) or "UTC"
    return f"{every} {zone}{'' if active else ', paused'}"


@cache
def _template(flow: str) -> dict[str, Any]:
    """What infra/prefect.yaml says of all deployments of a flow."""
    definitions = yaml.safe_load(FILE.read_text())["definitions"]
    template: dict[str, Any] = definitions[flow]
    return template


def _part(flow: str, wanted: Wanted, old: DeploymentResponse | None) -> Part:
    template = _template(flow)
    variables = dict(template["work_pool"]["job_variables"])
    image = wanted.image or (None if old is None else old.job_variables.get("image"))
    if flow == "retrain":
        kept = (
            {} if old is None else {name: old.parameters[name] for name in old.parameters if name != "file"}
        )
        asked = kept if wanted.parameters is None else wanted.parameters
        own = {"parameters": {"file": wanted.reference, **asked}, "parameter_openapi_schema": wanted.form}
        schedules = _schedules(wanted, old)
    else:
        own = {"parameters": {"model": wanted.model}, "parameter_openapi_schema": _monitor_form(wanted.model)}
        schedules = _kept(old) if old is not None else [_hourly(template)]
    fields = {
        "entrypoint": template["entrypoint"],
        "description": template["description"],
        "tags": [*template["tags"], DEPLOYED_TAG],
        "concurrency_limit": template["concurrency_limit"]["limit"],
        "concurrency_options": ConcurrencyOptions(
            collision_strategy=template["concurrency_limit"]["collision_strategy"]
        ),
        "enforce_parameter_schema": True,
        "work_pool_name": wanted.pool or (old.work_pool_name if old is not None else None) or POOL,
        "job_variables": variables | ({"image": image} if image else {}),
        "version": wanted.reference.removeprefix("bundle:")[:12],
        "pull_steps": [],
        **own,
    }
    return Part(flow, fields, schedules)


def _monitor_form(model: str) -> dict[str, Any]:
    field = {
        "type": "string", "title": "model", "position": 0, "enum": [model], "default": model,
        "description": "The registered model's name.",
    }  # fmt: skip
    return {"title": "Parameters", "type": "object", "properties": {"model": field}, "required": [], "definitions": {}}  # fmt: skip


def _hourly(template: dict[str, Any]) -> DeploymentScheduleCreate:
    """What was deployed is watched; before there is a champion there is nothing to see, which costs nothing."""
    hourly = template["schedules"][0]
    schedule = CronSchedule(cron=hourly["cron"], timezone=hourly["timezone"])
    return DeploymentScheduleCreate(schedule=schedule, active=True, slug=hourly["slug"])


def _schedules(wanted: Wanted, old: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    """A person's, and ours in its place if there is a new one; what was paused stays so."""
    kept = _kept(old)
    for schedule in kept:
        if "file" in schedule.parameters:
            schedule.parameters["file"] = wanted.reference
    if wanted.cron is None:
        return kept
    active = next((schedule.active for schedule in kept if schedule.slug == _SLUG), True)
    own = DeploymentScheduleCreate(schedule=_cron(wanted.cron, wanted.timezone), active=active, slug=_SLUG)
    return [*(schedule for schedule in kept if schedule.slug != _SLUG), own]


def _kept(old: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(
            schedule=schedule.schedule,
            active=schedule.active,
            parameters=dict(schedule.parameters),
            slug=schedule.slug,
        )
        for schedule in (old.schedules if old is not None else ())
    ]


def _cron(cron: str, timezone: str) -> CronSchedule:
    """Raises UserError for what is no schedule, for a day that never comes, and for a place without a clock."""
    croniter: Any = import_module("prefect._vendor.croniter").croniter

    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        if error.errors()[0]["loc"] == ("timezone",):
            raise UserError(
                f"--timezone {timezone!r} is no time zone: write one such as UTC or Europe/Berlin."
            ) from error
        raise UserError(
            f'--cron {cron!r} is no schedule: write minute, hour, day, month and weekday, such as "0 2 * * *" for 02:00 every day.'
        ) from error
    try:
        croniter(cron).get_next()
    except ValueError as error:
        raise UserError(f"--cron {cron!r} never comes: there is no such day; choose another.") from error
    return schedule


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


def _differences(old: DeploymentResponse | None, part: Part) -> list[str]:
    """What is otherwise than it was, a line each."""
    if old is None:
        return ["it is new"]
    fields, lines = part.fields, []
    new, was = fields["parameters"], old.parameters
    if new.get("file") != was.get("file"):
        lines.append("another bundle")
    elif fields["parameter_openapi_schema"] != old.parameter_openapi_schema:
        lines.append("the form is made anew")
    said = [in_words({name: value for name, value in each.items() if name != "file"}) for each in (was, new)]
    if said[0] != said[1]:
        lines.append(f"parameters: {said[1] or 'none'} (before: {said[0] or 'none'})")
    for field, word in (("work_pool_name", "pool"), ("job_variables", "variables of its runs")):
        if fields[field] != getattr(old, field):
            lines.append(f"{word}: {fields[field]} (before: {getattr(old, field)})")
    said = [", ".join(_in_words(each.schedule, each.active) for each in each_of) for each_of in (_kept(old), part.schedules)]  # fmt: skip
    if said[0] != said[1]:
        lines.append(f"schedule: {said[1] or 'none'} (before: {said[0] or 'none'})")
    same = all(fields[name] == getattr(old, name) for name in ("entrypoint", "description", "tags"))
    return lines or ([] if same else ["as this Slipway has it"])


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
                _save(client, name, Part(flow, _fields(old), _kept(old)))
            elif old is None and now is not None:
                client.delete_deployment(now.id)
        raise


def _fields(old: DeploymentResponse) -> dict[str, Any]:
    """A deployment as it was, for it to be made again."""
    names = (
        "entrypoint", "description", "tags", "concurrency_options", "enforce_parameter_schema", "work_pool_name",
        "job_variables", "version", "pull_steps", "parameters", "parameter_openapi_schema", "paused", "path",
    )  # fmt: skip
    limit = old.global_concurrency_limit
    return {
        **{name: getattr(old, name) for name in names},
        "concurrency_limit": None if limit is None else limit.limit,
    }


def _read(client: SyncPrefectClient, flow: str, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{flow}/{name}")
    except ObjectNotFound:
        return None
