"""What a model's deployments are to be, as Prefect's client takes them, and in which way that is otherwise than what is there."""

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from flows.orchestration.own_form import in_words
from infra.platform.status import DEPLOYED_TAG
from tasks.bundles.secrets import secret_in
from tasks.errors import UserError
from tasks.system.frozen import Frozen

POOL = "slipway"

FILE = Path(__file__).parent.parent.parent / "infra" / "prefect.yaml"

_BLOCK = re.compile(r"\{\{ *prefect\.(blocks|variables)\.[\w.-]+ *\}\}")
"""What Prefect's worker replaces by a block's value when it starts a run."""

_SLUG = "cron"
"""Of the schedule that `slipway deploy --cron` made; others are a person's."""


class Wanted(Frozen):
    """What a deployment is to be; None leaves that as it was, or as infra/prefect.yaml has it.

    `rollout`: the model's policy lets a version through by steps; a deployment of that which is there stays, for one may be open.
    """

    name: str
    model: str
    reference: str
    form: dict[str, Any]
    parameters: dict[str, Any] | None = None
    cron: str | None = None
    timezone: str = "UTC"
    pool: str | None = None
    image: str | None = None
    rollout: bool = False
    env: dict[str, str] | None = None


class Part(NamedTuple):
    """One deployment of Prefect's: its flow, and what the client's `create_deployment` takes."""

    flow: str
    fields: dict[str, Any]
    schedules: list[DeploymentScheduleCreate]


@cache
def _template(flow: str) -> dict[str, Any]:
    """What infra/prefect.yaml says of all deployments of a flow."""
    definitions = yaml.safe_load(FILE.read_text())["definitions"]
    template: dict[str, Any] = definitions[flow]
    return template


def environment(said: list[str] | None) -> dict[str, str] | None:
    """--env as a dict. Raises UserError for what is no NAME=VALUE, and for a secret that would stand in Prefect's pages."""
    if said is None:
        return None
    given: dict[str, str] = {}
    for line in said:
        name, equals, value = line.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(
                f"--env {name!r}: write NAME=VALUE, such as SLIPWAY_SQL_URL=postgresql://host/rows."
            )
        kind = secret_in("", f'{name}="{value}"'.encode())
        if kind is not None and not _BLOCK.fullmatch(value):
            raise UserError(
                f"--env {name} seems to hold {kind.partition(' (')[0]}, which whoever sees the deployment could read: keep it in a block "
                f"of Prefect's, such as a Secret named warehouse, and write {name}='{{{{ prefect.blocks.secret.warehouse }}}}'."
            )
        given[name] = value
    return given


def part_of(flow: str, wanted: Wanted, old: DeploymentResponse | None) -> Part:
    template = _template(flow)
    variables = dict(template["work_pool"]["job_variables"])
    before: dict[str, Any] = {} if old is None else old.job_variables
    image = wanted.image or before.get("image")
    variables["env"] = {**(before.get("env", {}) if wanted.env is None else wanted.env), **variables["env"]}
    if flow == "retrain":
        asked = {**(old.parameters if old else {})} if wanted.parameters is None else wanted.parameters
        own = {"parameters": {**asked, "file": wanted.reference}, "parameter_openapi_schema": wanted.form}
        schedules = _schedules(wanted, old)
    else:
        own = {"parameters": {"model": wanted.model}, "parameter_openapi_schema": _model_form(wanted.model)}
        schedules = kept(old) if old is not None else [_schedule(template, active=flow == "monitor")]
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


def _model_form(model: str) -> dict[str, Any]:
    field = {
        "type": "string", "title": "model", "position": 0, "enum": [model], "default": model,
        "description": "The registered model's name.",
    }  # fmt: skip
    return {"title": "Parameters", "type": "object", "properties": {"model": field}, "required": [], "definitions": {}}  # fmt: skip


def _schedule(template: dict[str, Any], *, active: bool) -> DeploymentScheduleCreate:
    """What was deployed is watched; before there is a champion there is nothing to see, which costs nothing."""
    said = template["schedules"][0]
    schedule = CronSchedule(cron=said["cron"], timezone=said["timezone"])
    return DeploymentScheduleCreate(schedule=schedule, active=active, slug=said["slug"])


def _schedules(wanted: Wanted, old: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    """A person's, and ours in its place if there is a new one; what was paused stays so."""
    schedules = kept(old)
    for schedule in schedules:
        if "file" in schedule.parameters:
            schedule.parameters["file"] = wanted.reference
    if wanted.cron is None:
        return schedules
    active = next((schedule.active for schedule in schedules if schedule.slug == _SLUG), True)
    own = DeploymentScheduleCreate(schedule=_cron(wanted.cron, wanted.timezone), active=active, slug=_SLUG)
    return [*(schedule for schedule in schedules if schedule.slug != _SLUG), own]


def kept(old: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
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
    from prefect._vendor.croniter import croniter  # type: ignore[attr-defined]

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
        croniter(cron).get_next()  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise UserError(f"--cron {cron!r} never comes: there is no such day; choose another.") from error
    return schedule


def schedules_in_words(made: DeploymentResponse) -> tuple[str, ...]:
    """0 2 * * * UTC, paused."""
    return tuple(_in_words(schedule.schedule, schedule.active) for schedule in made.schedules)


def _in_words(schedule: Any, active: bool | None) -> str:
    words = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None)
    every = f"every {schedule.interval}" if words is None else str(words)
    zone = getattr(schedule, "timezone", None) or "UTC"
    return f"{every} {zone}{'' if active else ', paused'}"


def differences(old: DeploymentResponse | None, part: Part) -> list[str]:
    """What is otherwise than it was, a line each."""
    if old is None:
        return ["it is new"]
    fields, lines = part.fields, []
    if fields["parameters"].get("file") != old.parameters.get("file"):
        lines.append("another bundle")
    elif fields["parameter_openapi_schema"] != old.parameter_openapi_schema:
        lines.append("the form is made anew")
    for word, was, now in (
        ("parameters", _asked(old.parameters), _asked(fields["parameters"])),
        ("pool", old.work_pool_name, fields["work_pool_name"]),
        ("variables of its runs", old.job_variables, fields["job_variables"]),
        ("schedule", _all_in_words(kept(old)), _all_in_words(part.schedules)),
    ):
        if was != now:
            lines.append(f"{word}: {now or 'none'} (before: {was or 'none'})")
    same = all(fields[name] == getattr(old, name) for name in ("entrypoint", "description", "tags"))
    return lines or ([] if same else ["as this Slipway has it"])


def _asked(parameters: dict[str, Any]) -> str:
    return in_words({name: value for name, value in parameters.items() if name != "file"})


def _all_in_words(schedules: list[DeploymentScheduleCreate]) -> str:
    return ", ".join(_in_words(schedule.schedule, schedule.active) for schedule in schedules)


def fields_of(old: DeploymentResponse) -> dict[str, Any]:
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
