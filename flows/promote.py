"""Promotion, refusal and rollback as flows: the gate, a person's approval where one is asked for, the alias, the ledger."""

from prefect import flow, task

from flows.orchestration.approval import ask as ask_a_person
from flows.orchestration.artifacts import show_question
from flows.orchestration.events import announced
from flows.pipeline.binding import worth_a_retry
from tasks.errors import RefusedError
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.judging import verdict_against_champion
from tasks.promotion.manual import decline_version, promote_version, roll_back_to
from tasks.promotion.permits import serving_version
from tasks.promotion.rolling import say
from tasks.promotion.rollout_status import rolls, status
from tasks.records import Version
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.reporting.approval_brief import Addresses, brief
from tasks.settings import load_settings
from tasks.system.frozen import Frozen


class Question(Frozen):
    """The page that whoever decides is shown, and whether anybody has to."""

    text: str
    ask: bool


@flow(
    name="promote", flow_run_name="promote-{model}-v{version}", persist_result=True, result_serializer="json"
)
def promote(
    model: str,
    version: int,
    reason: str,
    who: str | None = None,
    ask: bool | None = None,
    new_signature: bool = False,
) -> LedgerEntry:
    """Make a version the champion, if it passes the gate against the one that serves now; by steps, where mlflow.yaml has a rollout.

    Args:
        model: The registered model's name, such as digits.
        version: The version to make the champion.
        reason: Why; kept in the ledger.
        who: Who decides; empty: the user that the worker runs as.
        ask: Wait for a person's approval; empty: as mlflow.yaml says, and always when the gate is not sure.
        new_signature: Whoever asks the champion has been told that this version takes or gives something else.
    """
    settings = load_settings()
    asked = judge(model, version, ask)
    if asked.ask:
        approval = ask_a_person(asked.text, settings.policy(model).patience_days)
        who, reason = approval.who, approval.why
        if approval.decision == "refuse":
            refuse.fn(model, version, reason, who)
            raise RefusedError(f"{model} version {version} was refused by {who}: {reason}.")
    registry = Registry(settings)
    with announced(registry, model):
        if asked.ask and rolls(registry, model, version):
            return say(settings, model, "finish", why=reason, who=who)
        return promote_version(
            settings, model, version, why=reason, who=who, new_signature=new_signature or asked.ask
        )


@task(
    name="judge",
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=worth_a_retry,
    persist_result=True,
    result_serializer="json",
)
def judge(model: str, version: int, ask: bool | None) -> Question:
    """The gate's verdict against the champion of now, and whether to ask; stored, so that an answer counts whatever changed."""
    settings = load_settings()
    registry = Registry(settings)
    challenger = find_version(registry, f"{model}/{version}")
    evidence, verdict = verdict_against_champion(registry, challenger)
    champion = serving_version(registry, model)
    number = champion.version if champion is not None else None
    text = brief(version, evidence, verdict, number, _addresses(registry, challenger))
    if rolls(registry, model, version):
        text += f"\n\nIts rollout: {status(settings, model).decision.why} To approve ends it with this version as the champion."
    show_question(model, text)
    manual = settings.policy(model).approval == "manual" if ask is None else ask
    asks = verdict.decision == "inconclusive" or (manual and verdict.decision == "pass")
    return Question(text=text, ask=asks)


def _addresses(registry: Registry, version: Version) -> Addresses:
    run = registry.run_address(version.model, version.run_id)
    if run is None:
        return Addresses()
    return Addresses(
        report=f"{run}/artifacts/report.html", version=registry.version_address(version), run=run
    )


@flow(name="rollback", flow_run_name="rollback-{model}", persist_result=True, result_serializer="json")
def rollback(model: str, reason: str, to: int | None = None, who: str | None = None) -> LedgerEntry:
    """Go back to an older version, after seeing that it still verifies, loads and answers.

    Args:
        model: The registered model's name, such as digits.
        reason: Why; kept in the ledger.
        to: The version to go back to; empty: the one that served before.
        who: Who decides; empty: the user that the worker runs as.
    """
    settings = load_settings()
    with announced(Registry(settings), model):
        return roll_back_to(settings, model, to, why=reason, who=who)


@flow(name="refuse", flow_run_name="refuse-{model}-v{version}", persist_result=True, result_serializer="json")
def refuse(model: str, version: int, reason: str, who: str | None = None) -> LedgerEntry:
    """Keep in the ledger that a version is not let through; nothing moves. Questions that nobody answers end here.

    Args:
        model: The registered model's name, such as digits.
        version: The version that is refused.
        reason: Why; kept in the ledger.
        who: Who decides; empty: the user that the worker runs as.
    """
    settings = load_settings()
    with announced(Registry(settings), model):
        return decline_version(settings, model, version, why=reason, who=who)
