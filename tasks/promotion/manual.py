"""Decisions that people make about versions, each a plain call: promote this one, go back to that one."""

from tasks.errors import RefusedError, UserError
from tasks.measured import Verdict
from tasks.promotion.champion import model_lock, promote, refuse, repair, roll_back
from tasks.promotion.deciders import check_may_decide
from tasks.promotion.entries import Ledger, LedgerEntry, Origin
from tasks.promotion.judging import verdict_against_champion
from tasks.promotion.ledger import accept, in_short
from tasks.promotion.rolling import said
from tasks.promotion.rollout_start import begin_rollout, check_alone
from tasks.promotion.rollouts import open_rollout
from tasks.promotion.verification import answer, check_version, downloaded
from tasks.records import Version
from tasks.registry.lookup import check_model, find_version
from tasks.registry.registry import Registry
from tasks.registry.tags import VERDICT_TAG
from tasks.settings import Settings


def promote_version(
    settings: Settings,
    model: str,
    number: int,
    *,
    why: str,
    who: str | None = None,
    approved: bool = True,
    new_signature: bool = False,
    at_once: bool = False,
) -> LedgerEntry:
    """Move the champion to a version through the gate, judged against whatever serves now; the ledger's entry.

    Where mlflow.yaml has a rollout, that begins and nothing moves yet, but for `at_once`.

    `approved`: a person stands behind it, so that an inconclusive verdict may pass; a failed one never does.
    `new_signature`: whoever asks the champion knows that this version takes or gives something else.
    Raises UserError for a version that is not there, EvidenceError for one whose proof does not hold, RefusedError
    for one that the gate refuses.
    """
    registry = Registry(settings)
    version = find_version(registry, f"{model}/{number}")
    check_may_decide(settings, model, who)
    with model_lock(settings, model):
        ledger = repair(registry, model)
        if ledger.serving == number:
            raise RefusedError(f"{model} version {number} already is the champion; nothing was moved.")
        _, verdict = verdict_against_champion(registry, version)
        return let_through(
            registry,
            ledger,
            version,
            verdict,
            why=why,
            who=who,
            approved=approved,
            new_signature=new_signature,
            at_once=at_once,
        )


def let_through(
    registry: Registry,
    ledger: Ledger,
    version: Version,
    verdict: Verdict,
    *,
    why: str,
    who: str | None,
    approved: bool = True,
    new_signature: bool = False,
    origin: Origin | None = None,
    at_once: bool = False,
) -> LedgerEntry:
    """Promote on a verdict against what serves by `ledger`, or keep that it was refused, as `promote_version` says. The caller holds the model's lock."""
    name = f"{version.model} version {version.version}"
    check_alone(ledger, version.version, at_once=at_once)
    if verdict.decision == "fail" or (verdict.decision == "inconclusive" and not approved):
        asked = in_short((*verdict.reasons, f"asked for with: {why}"))
        refuse(registry, version, why=asked, verdict=verdict.decision, who=who)
        serving = "nothing" if ledger.serving is None else f"version {ledger.serving}"
        raise RefusedError(
            f"{name} is refused, and {serving} serves as before: {verdict.reasons[0]}. "
            f"`slipway history {version.model}` keeps it."
        )
    if verdict.new_signature is not None and not new_signature:
        raise RefusedError(
            f"{name} is not what its clients ask: {verdict.new_signature}. Tell them, and promote it with "
            "--new-signature; servers take it when they start anew."
        )
    against, decision = ledger.serving, verdict.decision
    if against is not None and registry.settings.policy(version.model).rollout is not None:
        if not at_once and verdict.new_signature is not None:
            raise RefusedError(
                f"{name} cannot answer beside version {against}: {verdict.new_signature}. No rollout compares the two; "
                "promote it with --now, for servers to take when they start anew."
            )
        if not at_once:
            return begin_rollout(registry, ledger, version, why=why, who=who, verdict=decision, origin=origin)
        why = in_short([f"{why} (at once, without the rollout that mlflow.yaml asks for)"])
    return promote(registry, version, against=against, why=why, who=who, verdict=decision, origin=origin)


def decline_version(
    settings: Settings, model: str, number: int, *, why: str, who: str | None = None
) -> LedgerEntry:
    """Keep in the ledger that a person said no to a version, as anybody may; nothing moves. RefusedError for the one that serves."""
    registry = Registry(settings)
    version = find_version(registry, f"{model}/{number}")
    with model_lock(settings, model):
        ledger = repair(registry, model)
        if (going_on := open_rollout(ledger.entries)) and going_on.terms.new == number:
            return said(registry, ledger, "abort", why=why, who=who)
        if ledger.serving == number:
            raise RefusedError(
                f"{model} version {number} is the champion: `slipway rollback {model}` takes it back."
            )
        verdict = registry.tags(version).get(VERDICT_TAG, "unproved")
        return refuse(registry, version, why=why, verdict=verdict, who=who)


def accept_ledger(settings: Settings, model: str, *, why: str, who: str | None = None) -> LedgerEntry:
    """Sign a ledger as it stands, and what serves with it: after entries were lost, altered or never signed."""
    registry = Registry(settings)
    check_model(registry, model)
    check_may_decide(settings, model, who)
    with model_lock(settings, model):
        entry = accept(registry, model, why=why, who=who)
        repair(registry, model)
        return entry


def roll_back_to(
    settings: Settings, model: str, to: int | None = None, *, why: str, who: str | None = None
) -> LedgerEntry:
    """Make an older version the champion again, after seeing that it still verifies, loads and answers; the ledger's entry.

    `to` None: the version that `previous` names; while a rollout is open, to end that. Raises UserError when there is none, RefusedError for a version that
    never passed a gate and was never let through, EvidenceError or StepError for one that is not fit to serve.
    """
    registry = Registry(settings)
    check_model(registry, model)
    check_may_decide(settings, model, who)
    with model_lock(settings, model):
        ledger = repair(registry, model)
        if ledger.serving is None:
            raise UserError(f"{model} has no champion to go back from: `slipway run {model}` makes one.")
        if open_rollout(ledger.entries):
            ended = said(registry, ledger, "abort", why=why, who=who)
            if to is None or to == ledger.serving:
                return ended
            ledger = repair(registry, model)
        number = to if to is not None else ledger.before
        if number is None:
            raise UserError(f"{model} has no previous version: v{ledger.serving} is the first that served.")
        if number == ledger.serving:
            raise UserError(
                f"{model} version {number} already is the champion: name an older one, see `slipway history {model}`."
            )
        version = find_version(registry, f"{model}/{number}")
        with downloaded(registry, version) as folder:
            evidence = check_version(folder, version)
            if evidence.decision != "pass" and not ledger.promoted(number):
                raise RefusedError(
                    f"{model} version {number} never passed its gate ({evidence.decision}: {evidence.proof.verdict.reasons[0]}); nothing was moved."
                )
            answer(folder)
        return roll_back(registry, version, why=why, who=who)
