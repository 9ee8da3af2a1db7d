"""A proof and a policy → promoted, registered or refused; whichever it is, the version and the ledger say so."""

from typing import Literal

from pydantic import Field

from tasks.errors import RefusedError, UserError
from tasks.measured import Proof, Verdict
from tasks.promotion.champion import model_lock, promote, refuse, repair
from tasks.promotion.entries import Ledger
from tasks.promotion.judging import verdict_against_champion
from tasks.promotion.ledger import in_short
from tasks.promotion.permits import grant
from tasks.promotion.rollout_start import begin_rollout, check_alone, waiting
from tasks.promotion.rollouts import open_rollout
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import DECISION_TAG, WAITS_TAG
from tasks.system.frozen import Frozen


class Decision(Frozen):
    """What became of a version, and why."""

    decision: Literal["promoted", "rolling", "registered", "refused"]
    reasons: tuple[str, ...]
    waits: bool = Field(
        False, description="For another's rollout to end, after which it is decided on by itself."
    )


def apply_verdict(registry: Registry, version: Version, proof: Proof, *, may_promote: bool) -> Decision:
    """Promote on a pass, if the policy lets the gate decide by itself; a version that failed becomes no challenger."""
    against = proof.comparison.champion if proof.comparison else None
    with model_lock(registry.settings, version.model):
        decision = _decide(registry, version, proof.verdict, against, may_promote)
    waits = {WAITS_TAG: "rollout"} if decision.waits else {}
    registry.tag_version(version, waits | {DECISION_TAG: decision.decision})
    return decision


def decide_on_waiting(registry: Registry, ledger: Ledger) -> Decision | None:
    """What becomes of the version that waited for a rollout which has ended, by the gate against what serves now; None where none waits.

    The caller holds the model's lock. One that is only `registered` waits on, for a person.
    """
    version = waiting(registry, ledger)
    if version is None:
        return None
    try:
        _, verdict = verdict_against_champion(registry, version)
    except UserError as error:  # its rows are gone, or its code is not here
        verdict = Verdict(decision="inconclusive", reasons=(f"it cannot be judged here: {error}",))
    decision = _decide(registry, version, verdict, ledger.serving, may_promote=True)
    registry.tag_version(version, {DECISION_TAG: decision.decision})
    return decision


def _decide(
    registry: Registry, version: Version, verdict: Verdict, against: int | None, may_promote: bool
) -> Decision:
    if verdict.decision == "fail":
        if not repair(registry, version.model).refused(version.version):  # by a try that was cut off
            refuse(registry, version, why=in_short(verdict.reasons), verdict=verdict.decision)
        return Decision(decision="refused", reasons=verdict.reasons)
    if registry.number(version.model, "champion") != version.version:  # else moved by a try that was cut off
        registry.set_alias(version.model, "challenger", version.version)
    if verdict.decision == "pass" and registry.settings.policy(version.model).permits_by_gate:
        grant(registry, version, basis="gate", why=in_short(verdict.reasons), by="the gate")
    cause = _why_not(registry, version, verdict, may_promote)
    return _promote(registry, version, verdict, against) if cause is None else _held(verdict, cause)


def _why_not(registry: Registry, version: Version, verdict: Verdict, may_promote: bool) -> str | None:
    if not may_promote:
        return "not promoted, as asked"
    if verdict.decision == "inconclusive":
        return "not promoted: the gate is not sure, so a person has to decide"
    if registry.settings.policy(version.model).approval == "manual":
        return "not promoted: mlflow.yaml asks for a person's approval"
    return None


def _promote(registry: Registry, version: Version, verdict: Verdict, against: int | None) -> Decision:
    ledger = repair(registry, version.model)
    why, sure = in_short(verdict.reasons), verdict.decision
    policy, going_on = registry.settings.policy(version.model), open_rollout(ledger.entries)
    rolling = (
        going_on is not None and going_on.terms.new == version.version
    )  # begun by a try that was cut off
    try:
        if not rolling and ledger.serving != version.version:  # else moved by such a try
            check_alone(ledger, version.version)
            rolling = policy.rollout is not None and ledger.serving is not None and ledger.serving == against
            if rolling:
                begin_rollout(registry, ledger, version, why=why, verdict=sure)
            else:
                promote(registry, version, against=against, why=why, verdict=sure)
    except RefusedError as error:
        if going_on is None:
            return _held(verdict, str(error))
        cause = f"{error} It waits as challenger, and begins by itself once that has ended, if it passes its gate against what serves then."
        return _held(verdict, cause).model_copy(update={"waits": True})
    if not rolling:
        return Decision(decision="promoted", reasons=verdict.reasons)
    how = (
        f"it answers beside champion v{against} and goes on by steps: slipway rollout {version.model} status"
    )
    return Decision(decision="rolling", reasons=(how, *verdict.reasons))


def _held(verdict: Verdict, cause: str) -> Decision:
    return Decision(decision="registered", reasons=(cause, *verdict.reasons))
