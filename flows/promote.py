"""Promotion and rollback as flows: the gate, a person's approval where one is asked for, the alias, the ledger."""

from prefect import flow, task
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from flows.guard import one_at_a_time
from flows.steps import worth_a_retry
from tasks.decide import current_verdict, decline_version, promote_version, roll_back_to
from tasks.errors import RefusedError
from tasks.ledger import LedgerEntry
from tasks.recheck import find_version
from tasks.records import Verdict
from tasks.registry import Registry
from tasks.settings import load_settings

_PATIENCE_SECONDS = 7 * 24 * 3600


class Approval(RunInput):
    """What whoever decides is asked for."""

    approve: bool = Field(False, description="On: this version becomes the champion. Off: it is refused.")
    who: str = Field(
        "", description="Your name; kept in the ledger. Empty: the user that the worker runs as."
    )
    why: str = Field(min_length=1, max_length=2000, description="Why; kept in the ledger.")


def _promote_name() -> str:
    return "promote-{model}-v{version}".format(**flow_run.parameters)


@flow(name="promote", flow_run_name=_promote_name, persist_result=True, result_serializer="json")
def promote(
    model: str, version: int, reason: str, who: str | None = None, ask: bool | None = None
) -> LedgerEntry:
    """Make a version the champion, if it passes the gate against the one that serves now.

    Args:
        model: The registered model's name, such as digits.
        version: The version to make the champion.
        reason: Why; kept in the ledger.
        who: Who decides; empty: the user that the worker runs as.
        ask: Wait for a person's approval; empty: as mlflow.yaml says, and always when the gate is not sure.
    """
    settings = load_settings()
    verdict = judge(model, version)
    manual = settings.policy(model).approval == "manual" if ask is None else ask
    if verdict.decision != "fail" and (manual or verdict.decision == "inconclusive"):
        approval = _approval(model, version, verdict)
        who, reason = approval.who or who, approval.why
        if not approval.approve:
            with one_at_a_time(model):
                decline_version(settings, model, version, why=reason, who=who, verdict=verdict.decision)
            raise RefusedError(f"{model} version {version} was refused by {who or 'a person'}: {reason}.")
    with one_at_a_time(model):
        return promote_version(settings, model, version, why=reason, who=who)


@task(name="judge", retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def judge(model: str, version: int) -> Verdict:
    """The gate's verdict against the champion of now."""
    registry = Registry(load_settings())
    return current_verdict(registry.settings, registry, find_version(registry, f"{model}/{version}"))


def _rollback_name() -> str:
    return "rollback-{model}".format(**flow_run.parameters)


@flow(name="rollback", flow_run_name=_rollback_name, persist_result=True, result_serializer="json")
def rollback(model: str, reason: str, to: int | None = None, who: str | None = None) -> LedgerEntry:
    """Go back to an older version, after seeing that it still verifies, loads and answers.

    Args:
        model: The registered model's name, such as digits.
        reason: Why; kept in the ledger.
        to: The version to go back to; empty: the one that served before.
        who: Who decides; empty: the user that the worker runs as.
    """
    with one_at_a_time(model):
        return roll_back_to(load_settings(), model, to, why=reason, who=who)


def _approval(model: str, version: int, verdict: Verdict) -> Approval:
    """Ask in the UI. A deployed run gives its worker back meanwhile and begins anew when it is resumed."""
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    question = Approval.with_initial_data(
        description=f"## Promote {model} version {version}?\n\nThe gate says **{verdict.decision}**.\n\n{reasons}"
    )
    if deployment.id:
        answer = suspend_flow_run(wait_for_input=question, timeout=_PATIENCE_SECONDS, key="approval")
    else:
        answer = pause_flow_run(
            wait_for_input=question, timeout=_PATIENCE_SECONDS, poll_interval=2, key="approval"
        )
    return Approval.model_validate(answer.model_dump())
