"""A version begins to answer beside the champion: on which terms, and when it may not."""

import secrets

from tasks.errors import RefusedError, UserError
from tasks.promotion.entries import Ledger, LedgerEntry, Origin
from tasks.promotion.execution import enact
from tasks.promotion.rollouts import last_rollout, open_rollout, policy_sha256
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import SCORE_TAG, WAITS_TAG
from tasks.rollout.evidence import RolloutEvidence, Terms
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import ROLLOUT_TAG
from tasks.traffic.answers import answers_of, check_by_row


def begin_rollout(
    registry: Registry,
    ledger: Ledger,
    version: Version,
    *,
    why: str,
    who: str | None = None,
    verdict: str | None = None,
    origin: Origin | None = None,
) -> LedgerEntry:
    """Let `version` answer beside the champion by `ledger`, which is sound, on the terms of mlflow.yaml of now; the start's entry.

    The caller holds the model's lock. Raises RefusedError where another rollout is open, or its score has no rows to compare.
    """
    model, policy = version.model, registry.settings.policy(version.model).rollout
    check_alone(ledger, version.version)
    assert policy is not None
    champion = registry.version(model, ledger.serving or 0)
    if champion is None:
        raise RefusedError(f"{model} has no champion that version {version.version} could answer beside.")
    _check_score(registry, version, policy)
    terms = Terms(
        policy=policy,
        old=champion.version,
        new=version.version,
        old_sha256=champion.sha256,
        new_sha256=version.sha256,
        salt=secrets.token_hex(8),
    )
    name = f"v{version.version} beside v{champion.version}"
    evidence = RolloutEvidence(
        run=registry.begin_rollout(model, name, {ROLLOUT_TAG: f"entry {ledger.sequence + 1}"}),
        step=0,
        weight=policy.steps[0],
        policy=policy_sha256(policy),
        terms=terms,
    )
    return enact(
        registry, ledger, "start", version, why=why, who=who, verdict=verdict, origin=origin, rollout=evidence
    )


def check_alone(ledger: Ledger, version: int, *, at_once: bool = False) -> None:
    """Raise RefusedError while a rollout is open; `at_once`: but for the version that it is about."""
    if (going_on := open_rollout(ledger.entries)) is None:
        return
    model, new = ledger.model, going_on.terms.new
    command = f"slipway rollout {model}"
    if version != new:
        raise RefusedError(
            f"{model} version {version} cannot begin yet: version {new} is being rolled out, one at a time "
            f"(`{command} status`; `{command} abort` ends it); nothing was begun."
        )
    if not at_once:
        raise RefusedError(
            f"{model} version {new} is being rolled out already: `{command} finish` makes it the champion on your word."
        )


def waiting(registry: Registry, ledger: Ledger) -> Version | None:
    """The newest version that waits for a rollout to end: nothing was decided about it, and nothing newer has had its rollout."""
    last = last_rollout(ledger.entries)
    decided = {entry.to_version for entry in ledger.entries}
    for version in registry.all_by_tag(ledger.model, WAITS_TAG, "rollout"):
        if version.version not in decided and last is not None and version.version > last.terms.new:
            return version
    return None


def _check_score(registry: Registry, version: Version, policy: RolloutPolicy) -> None:
    """Labels speak of rows, so that a score which is more than its rows' mean cannot be watched."""
    if policy.margin.score is None or SCORE_TAG not in registry.tags(version):
        return
    try:
        check_by_row(answers_of(registry, version).workload)
    except UserError as error:
        raise RefusedError(
            f"{error} Set models.{version.model}.rollout.margin.score to null in mlflow.yaml, or promote at once with --now."
        ) from error
