"""A proof and a policy → promoted, registered or refused; whichever it is, the version and the ledger say so."""

from typing import Literal

from pydantic import Field

from tasks.errors import RefusedError
from tasks.measured import Proof
from tasks.promotion.champion import model_lock, promote, refuse, repair
from tasks.promotion.ledger import in_short
from tasks.promotion.permits import grant
from tasks.promotion.rollout_start import begin_rollout, check_alone
from tasks.promotion.rollouts import open_rollout
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import DECISION_TAG
from tasks.system.frozen import Frozen


class Decision(Frozen):
    """What became of a version, and why."""

    decision: Literal["promoted", "rolling", "registered", "refused"]
    reasons: tuple[str, ...]
    waits: bool = Field(
        False, description="For another's rollout to end: there is nothing to ask a person yet."
    )


def apply_verdict(registry: Registry, version: Version, proof: Proof, *, may_promote: bool) -> Decision:
    """Promote on a pass, if the policy lets the gate decide by itself; a version that failed becomes no challenger."""
    verdict = proof.verdict
    with model_lock(registry.settings, version.model):
        if verdict.decision == "fail":
            if not repair(registry, version.model).refused(version.version):  # by a try that was cut off
                refuse(registry, version, why=in_short(verdict.reasons), verdict=verdict.decision)
            decision = Decision(decision="refused", reasons=verdict.reasons)
        else:
            registry.set_alias(version.model, "challenger", version.version)
            if verdict.decision == "pass" and registry.settings.policy(version.model).permits_by_gate:
                grant(registry, version, basis="gate", why=in_short(verdict.reasons), by="the gate")
            cause = _why_not(registry, version, proof, may_promote)
            decision = _promote(registry, version, proof) if cause is None else _held(proof, cause)
    registry.tag_version(version, {DECISION_TAG: decision.decision})
    return decision


def _why_not(registry: Registry, version: Version, proof: Proof, may_promote: bool) -> str | None:
    if not may_promote:
        return "not promoted, as asked"
    if proof.verdict.decision == "inconclusive":
        return "not promoted: the gate is not sure, so a person has to decide"
    if registry.settings.policy(version.model).approval == "manual":
        return "not promoted: mlflow.yaml asks for a person's approval"
    return None


def _promote(registry: Registry, version: Version, proof: Proof) -> Decision:
    ledger = repair(registry, version.model)
    against = proof.comparison.champion if proof.comparison else None
    why, verdict = in_short(proof.verdict.reasons), proof.verdict.decision
    policy, going_on = registry.settings.policy(version.model), open_rollout(ledger.entries)
    rolling = (
        going_on is not None and going_on.terms.new == version.version
    )  # begun by a try that was cut off
    try:
        if not rolling and ledger.serving != version.version:  # else moved by such a try
            check_alone(ledger, version.version)
            rolling = policy.rollout is not None and ledger.serving is not None and ledger.serving == against
            if rolling:
                begin_rollout(registry, ledger, version, why=why, verdict=verdict)
            else:
                promote(registry, version, against=against, why=why, verdict=verdict)
    except RefusedError as error:
        return _held(proof, str(error)).model_copy(update={"waits": going_on is not None})
    if not rolling:
        return Decision(decision="promoted", reasons=proof.verdict.reasons)
    how = (
        f"it answers beside champion v{against} and goes on by steps: slipway rollout {version.model} status"
    )
    return Decision(decision="rolling", reasons=(how, *proof.verdict.reasons))


def _held(proof: Proof, cause: str) -> Decision:
    return Decision(decision="registered", reasons=(cause, *proof.verdict.reasons))
