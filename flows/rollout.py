"""A rollout goes on: every minute while one is open, all that is open is looked at, and what follows from the counts is done, once."""

from prefect import flow, task
from prefect.runtime import flow_run

from flows.orchestration.approval import start_asking
from flows.orchestration.artifacts import show_rollout
from flows.orchestration.events import announced
from flows.orchestration.rollout_schedule import follow
from flows.pipeline.binding import worth_a_retry
from tasks.errors import StepError, UserError
from tasks.promotion.rolling import advance
from tasks.promotion.rollout_status import Standing, drawn, to_look_at
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.registry.tags import WAITS_TAG
from tasks.settings import load_settings


@flow(
    name="rollout",
    flow_run_name=lambda: f"rollout-{flow_run.parameters.get('model') or 'all'}",
    persist_result=True,
    result_serializer="json",
)
def rollout(model: str = "") -> list[Standing]:
    """Look at every rollout that is open: add up what servers report, go a step further, or back; once it is over, begin what waits. Any number may run at once.

    Args:
        model: One registered model's name, such as digits; empty: every one of which a rollout is open, or waits.
    """
    registry = Registry(load_settings())
    seen, failed = [], []
    for name in [model] if model else to_look_at(registry):
        try:
            with announced(registry, name):
                standing = look(name)
        except UserError as error:  # the others go on
            failed.append(str(error))
            continue
        if standing is not None:
            show_rollout(standing, drawn(registry, standing))
            _ask_a_person(registry, standing)
            seen.append(standing)
    follow(still := to_look_at(registry))
    if (now := to_look_at(registry)) != still:  # one began at this moment
        follow(now)
    if failed:
        raise StepError(" ".join(failed))
    return seen


def _ask_a_person(registry: Registry, standing: Standing) -> None:
    """What counts did not decide within the patience, and what waited for its turn and the gate is not sure of now."""
    if standing.decision.action == "ask":
        version = find_version(registry, f"{standing.model}/{standing.new}")
        start_asking(version, "its rollout does not decide by itself", ask=True, about=standing.run)
    elif standing.status == "ended" and standing.made is None and standing.waits is not None:
        version = find_version(registry, f"{standing.model}/{standing.waits}")
        start_asking(version, f"it waited for the rollout of version {standing.new} to end")
        registry.tag_version(version, {WAITS_TAG: "a person"})


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def look(model: str) -> Standing | None:
    """One pass over one model's rollout."""
    return advance(load_settings(), model)
