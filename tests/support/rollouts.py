"""Rollouts for tests: registries whose mlflow.yaml has one, and what servers would report, written by hand."""

import datetime
from typing import Any

import promotions

from tasks.measured import Comparison, Verdict
from tasks.promotion.automatic import apply_verdict
from tasks.promotion.champion import promote
from tasks.promotion.ledger import read_ledger
from tasks.promotion.rollouts import Rollout, last_rollout, read_standing
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.rollout.counts import Counts
from tasks.rollout.record import ROLLOUT_TAG, RolloutRecord
from tasks.rollout.reported import POD_TAG, PodReport
from tasks.settings import Policy

POLICY = {
    "steps": ["shadow", "10%", "50%"],
    "margin": {"score": None},
    "hold": {"minutes": 10, "requests": 200},
}
"""Without labels, so that counts alone decide."""

PASS = Verdict(decision="pass", reasons=("as good",))

MINUTE = datetime.timedelta(minutes=1)

GOOD = Counts(pairs=4000, timed=4000, slow=800, agreed=3900)
"""As good as the champion, surely: every guard but the score's is within its margin."""

BAD = Counts(pairs=300, failed=15, timed=285, slow=60, agreed=280)
"""Fails 5% of the requests."""


def with_rollout(registry: Registry, **changes: Any) -> Registry:
    """The same registry under an mlflow.yaml that has a rollout for every model."""
    models = {"default": Policy.model_validate({"rollout": {**POLICY, **changes}})}
    return Registry(registry.settings.model_copy(update={"models": models}))


def passed(registry: Registry, version: Version, against: int | None) -> str:
    """What the gate's pass comes to, as at the end of a retrain."""
    proof = promotions.make_evidence(version.sha256, version.model).proof
    if against is not None:
        comparison = Comparison(champion=against, sha256="c" * 64, rows=360, score=0.98)
        proof = proof.model_copy(update={"comparison": comparison})
    return apply_verdict(registry, version, proof, may_promote=True).decision


def begun(registry: Registry, model: str, versions: int = 2) -> list[Version]:
    """Versions without files, the first of which serves and the second answers beside it."""
    made = promotions.register_bare(registry, model, versions)
    promote(registry, made[0], against=None, why="the first")
    assert passed(registry, made[1], 1) == "rolling"
    return made


def again(registry: Registry, model: str) -> None:
    """The second version answers beside the first once more, on the terms of now."""
    version = registry.version(model, 2)
    assert version is not None
    assert passed(registry, version, 1) == "rolling"


def rollout_of(registry: Registry, model: str) -> Rollout:
    rollout = last_rollout(read_ledger(registry, model).entries)
    assert rollout is not None
    return rollout


def report(
    registry: Registry,
    model: str,
    counts: Counts,
    at: datetime.datetime | None = None,
    pod: str = "host-1-1",
    sequence: int | None = None,
) -> None:
    """What a server's process reports, by hand."""
    rollout = rollout_of(registry, model)
    report = PodReport(
        at=at or datetime.datetime.now(datetime.UTC),
        sequence=rollout.last.sequence if sequence is None else sequence,
        counts=counts,
    )
    registry.client.set_tag(rollout.stands.run, f"{POD_TAG}{pod}", report.model_dump_json())


def obeyed(registry: Registry, model: str) -> RolloutRecord | None:
    """What servers obey."""
    return read_standing((registry.model_tags(model) or {}).get(ROLLOUT_TAG))


def check(registry: Registry, model: str) -> None:
    """What must hold of a rollout whenever nothing is under way, beside what holds of every ledger."""
    ledger = read_ledger(registry, model, whole=True)
    promotions.check(registry, read_ledger(registry, model))
    assert ledger.problems == ()
    rollout = last_rollout(ledger.entries)
    assert rollout is None or obeyed(registry, model) == rollout.record
