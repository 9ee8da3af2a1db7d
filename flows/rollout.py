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
from tasks.promotion.rollout_status import Standing, drawn, open_rollouts
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.settings import load_settings


@flow(
    name="rollout",
    flow_run_name=lambda: f"rollout-{flow_run.parameters.get('model') or 'all'}",
    persist_result=True,
    result_serializer="json",
)
def rollout(model: str = "") -> list[Standing]:
    """Look at every rollout that is open: add up what servers report, go a step further, or back. Any number may run at once.

    Args:
        model: One registered model's name, such as digits; empty: every one that has a rollout.
    """
    registry = Registry(load_settings())
    seen, failed = [], []
    for name in [model] if model else open_rollouts(registry):
        try:
            with announced(registry, name):
                standing = look(name)
        except UserError as error:  # the others go on
            failed.append(str(error))
            continue
        if standing is not None:
            show_rollout(standing, drawn(registry, standing))
            if standing.decision.action == "ask":
                version = find_version(registry, f"{name}/{standing.new}")
                start_asking(version, "its rollout does not decide by itself", ask=True)
            seen.append(standing)
    follow(still := open_rollouts(registry))
    if (now := open_rollouts(registry)).keys() != still.keys():  # one began at this moment
        follow(now)
    if failed:
        raise StepError(" ".join(failed))
    return seen


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def look(model: str) -> Standing | None:
    """One pass over one model's rollout."""
    return advance(load_settings(), model)
