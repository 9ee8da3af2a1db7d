"""Promotion, refusal and rollback as flows: the gate, a person's approval where one is asked for, the alias, the ledger."""

from contextlib import suppress

from prefect import flow, task
from pydantic import Field

from flows.orchestration import form
from flows.orchestration.approval import Approval
from flows.orchestration.approval import ask as ask_a_person
from flows.orchestration.artifacts import show_question as show_brief
from flows.orchestration.events import announced
from flows.orchestration.failures import failing_in_a_sentence
from flows.orchestration.statuses import show_answer, show_question
from flows.orchestration.story import told
from flows.pipeline.binding import worth_a_retry
from tasks.errors import RefusedError, StepError
from tasks.promotion.deciders import check_may_decide
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.judging import verdict_against_champion
from tasks.promotion.manual import decline_version, promote_version, roll_back_to
from tasks.promotion.permits import serving_version
from tasks.promotion.rolling import say
from tasks.promotion.rollout_status import rolls, status
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.evidence import Evidence
from tasks.records import Version
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.reporting.approval_brief import Addresses, brief
from tasks.settings import Settings, load_settings
from tasks.system.frozen import Frozen

DECLINED = "Declined"
"""The state of a run that asked, and was told no: it did what it was for."""


class Question(Frozen):
    """The page that whoever decides is shown, and whether anybody has to."""

    text: str
    ask: bool
    rolls: bool = Field(False, description="Whether it ends this version's rollout to approve it.")


@flow(
    name="promote", flow_run_name="promote-{model}-v{version}", persist_result=True, result_serializer="json"
)
@failing_in_a_sentence
def promote(
    model: str,
    version: int,
    reason: str,
    who: form.Text = None,
    ask: form.Choice = None,
    new_signature: bool = False,
) -> LedgerEntry:
    """Make a version the champion, if it passes the gate against the one that serves now; by steps, where mlflow.yaml has a rollout.

    A person's no ends the run as Declined.

    Args:
        model: The registered model's name, such as digits.
        version: The version to make the champion.
        reason: Why; kept in the ledger.
        who: Who decides; empty: the worker's account of MLflow, else SLIPWAY_USER, else the user that the worker runs as.
        ask: Wait for a person's approval; empty: as mlflow.yaml says, and always when the gate is not sure.
        new_signature: Whoever asks the champion has been told that this version takes or gives something else.
    """
    settings = load_settings()
    asked = judge(model, version, ask)
    if asked.ask:
        approval = _answer(settings, model, asked.text)
        who, reason = approval.who, approval.why
        answer = "approved" if approval.decision == "approve" else "refused"
        said = f"{who} {answer} version {version}: {reason}"
        show_answer(Registry(settings), model, version, said)
        if approval.decision == "refuse":
            entry = _refuse(model, version, reason, who)
            return told(entry, f"declined by {entry.who}: {reason}", DECLINED)
    registry, new_signature = Registry(settings), new_signature or asked.ask
    with announced(registry, model):
        rolling = rolls(registry, model, version)
        if asked.rolls and not rolling:
            raise RefusedError(
                f"The rollout of {model} version {version} ended while this was asked: `slipway history {model}` shows how; nothing was moved."
            )
        if asked.ask and rolling:
            entry = say(settings, model, "finish", why=reason, who=who)
        else:
            entry = promote_version(
                settings, model, version, why=reason, who=who, new_signature=new_signature
            )
    return told(entry, _moved(entry))


def _answer(settings: Settings, model: str, text: str) -> Approval:
    """A no, or the yes of somebody who may say it: whoever may not is told so where it was asked, and the question stays."""
    days, told, before = settings.policy(model).patience_days, "", 0
    while True:
        approval = ask_a_person(told + text, days, before)
        try:
            if approval.decision == "approve":
                check_may_decide(settings, model, approval.who)
            return approval
        except RefusedError as error:
            told, before = f"**Not approved.** {error}\n\n", before + 1


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
    serving = None if champion is None else _evidence_of(registry, champion)
    text = brief(version, evidence, verdict, number, _addresses(registry, challenger), serving)
    if rolling := rolls(registry, model, version):
        text += f"\n\nIts rollout: {status(settings, model).decision.why} To approve ends it with this version as the champion."
    show_brief(model, text)
    manual = settings.policy(model).approval == "manual" if ask is None else ask
    asks = verdict.decision == "inconclusive" or (manual and verdict.decision == "pass")
    if asks:
        instead = "as the first champion" if number is None else f"in place of version {number}"
        said = f"Promote {model} version {version}, {instead}? The gate says {verdict.decision}: {verdict.reasons[0]}"
        show_question(registry, challenger, said, settings.policy(model).patience_days)
    return Question(text=text, ask=asks, rolls=rolling)


def _evidence_of(registry: Registry, version: Version) -> Evidence | None:
    """None where it proves nothing, which is no reason not to ask about another."""
    with suppress(StepError), downloaded(registry, version) as folder:
        return check_version(folder, version)
    return None


def _addresses(registry: Registry, version: Version) -> Addresses:
    run = registry.run_address(version.model, version.run_id)
    if run is None:
        return Addresses()
    report = registry.run_address(version.model, version.run_id, "report.html")
    return Addresses(report=report, version=registry.version_address(version), run=run)


@flow(name="rollback", flow_run_name="rollback-{model}", persist_result=True, result_serializer="json")
@failing_in_a_sentence
def rollback(model: str, reason: str, to: form.Number = None, who: form.Text = None) -> LedgerEntry:
    """Go back to an older version, after seeing that it still verifies, loads and answers.

    Args:
        model: The registered model's name, such as digits.
        reason: Why; kept in the ledger.
        to: The version to go back to; empty: the one that served before.
        who: Who decides; empty: the worker's account of MLflow, else SLIPWAY_USER, else the user that the worker runs as.
    """
    settings = load_settings()
    with announced(Registry(settings), model):
        entry = roll_back_to(settings, model, to, why=reason, who=who)
    return told(entry, _moved(entry))


@flow(name="refuse", flow_run_name="refuse-{model}-v{version}", persist_result=True, result_serializer="json")
@failing_in_a_sentence
def refuse(model: str, version: int, reason: str, who: form.Text = None) -> LedgerEntry:
    """Keep in the ledger that a version is not let through; nothing moves. Questions that nobody answers end here.

    Args:
        model: The registered model's name, such as digits.
        version: The version that is refused.
        reason: Why; kept in the ledger.
        who: Who decides; empty: the worker's account of MLflow, else SLIPWAY_USER, else the user that the worker runs as.
    """
    entry = _refuse(model, version, reason, who)
    show_answer(
        Registry(load_settings()), model, version, f"version {version} was refused by {entry.who}: {reason}"
    )
    return told(entry, f"refused by {entry.who}: {reason}")


def _refuse(model: str, version: int, reason: str, who: str | None) -> LedgerEntry:
    settings = load_settings()
    with announced(Registry(settings), model):
        return decline_version(settings, model, version, why=reason, who=who)


def _moved(entry: LedgerEntry) -> str:
    if not entry.moved:
        return f"v{entry.to_version} begins its rollout beside v{entry.from_version}, by {entry.who}"
    which = "the first champion" if entry.from_version is None else f"champion after v{entry.from_version}"
    return f"v{entry.to_version} is {which}, by {entry.who}"
