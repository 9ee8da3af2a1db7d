"""How a rollout stands: what the ledger says of it, what was seen until now, and what follows; nothing is changed by looking."""

import datetime
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from tasks.errors import UserError
from tasks.promotion.entries import Ledger, LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.promotion.rollout_start import waiting
from tasks.promotion.rollouts import Rollout, last_rollout, open_rollout, read_standing
from tasks.records import Metric
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.registry.rest import now_ms
from tasks.registry.tags import WAITS_TAG
from tasks.reporting.rollout_progress import Point, curves, intervals, picture
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.decision import Decision, Pod, decide
from tasks.rollout.evidence import Guard
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import ROLLOUT_TAG
from tasks.rollout.reported import read_reports
from tasks.settings import Settings
from tasks.system.frozen import Frozen
from tasks.traffic.pairs import labelled

_TOTAL = "seen"


class Standing(Frozen):
    """A model's rollout as it stands, what was seen of it until now, and what follows."""

    model: str
    status: Literal["rolling", "paused", "ended"]
    run: str
    old: int
    new: int
    step: int
    policy: RolloutPolicy
    since: datetime.datetime
    counts: Counts
    labels: LabelCounts | None = None
    labels_sha256: str | None = None
    pods: Mapping[str, Pod] = {}
    decision: Decision
    entries: tuple[LedgerEntry, ...]
    waits: int | None = Field(
        None,
        description="The version that waits for its end; after that for the next pass, and where that is not sure for a person.",
    )
    made: LedgerEntry | None = Field(None, description="What this pass decided.")

    @property
    def weight(self) -> float:
        return self.policy.steps[self.step]


def standing(registry: Registry, ledger: Ledger) -> Standing | None:
    """How the last rollout stands by `ledger`, and what its counts of now say; nothing is changed."""
    rollout = last_rollout(ledger.entries)
    if rollout is None:
        return None
    seen, now = rollout.stands, datetime.datetime.now(datetime.UTC)
    tags = registry.run_tags(seen.run)
    reports = read_reports(tags or {})
    pods = {name: Pod(age=now - each.at, sequence=each.sequence) for name, each in reports.items()}
    counts, labels, sha256 = seen.counts, seen.labels, seen.labels_sha256
    decision = Decision(action="stay", why=rollout.last.why, answers=seen.answers)
    policy, later = rollout.terms.policy, waiting(registry, ledger)
    if tags is None and not rollout.ended:  # a clean-up; blind is not safe
        labels = sha256 = None
        why = f"The run that servers report to, {seen.run}, was deleted in MLflow."
        decision = Decision(action="abort", why=why)
    elif not rollout.ended:
        counts = sum((each.counts for each in reports.values()), Counts())
        labels, sha256, unread = _labelled(registry, ledger.model, rollout, now)
        decision = decide(policy, rollout.place(pods), counts, labels, now)
        if unread:
            decision = decision.model_copy(update={"why": f"{decision.why} {unread}"})
    return Standing(
        model=ledger.model,
        status="ended" if rollout.ended else "paused" if rollout.paused else "rolling",
        run=seen.run,
        old=rollout.terms.old,
        new=rollout.terms.new,
        step=seen.step,
        policy=policy,
        since=rollout.stepped.at,
        counts=counts,
        labels=labels,
        labels_sha256=sha256,
        pods=pods,
        decision=decision,
        entries=rollout.entries,
        waits=None if later is None else later.version,
    )


def _labelled(
    registry: Registry, model: str, rollout: Rollout, now: datetime.datetime
) -> tuple[LabelCounts | None, str | None, str]:
    """What labels say, and their files' digest, if the policy asks; or why they cannot be read: the other guards go on."""
    policy = rollout.terms.policy
    if policy.margin.score is None:
        return None, None, ""
    try:
        return *labelled(registry.settings, model, rollout.record, policy, now), ""
    except UserError as error:  # a store that is away, a version that was deleted
        return None, None, f"Labels say nothing: {error}"


def log_curves(registry: Registry, seen: Standing) -> None:
    """The wealth of every bet, and what is not ruled out of every guard, for MLflow's curves and the picture; a point for 2% more of all."""
    labels = seen.labels or LabelCounts()
    total = seen.counts.pairs + seen.counts.requests + 2 * labels.matured - labels.missing
    last = registry.metrics(seen.run).get(_TOTAL, 0.0)
    if last <= total < 1.02 * last or total == last:
        return
    at, pairs = now_ms(), seen.counts.pairs
    values = [(f"{each.guard}/{each.question}", each.log_wealth, pairs) for each in seen.decision.answers]
    values += [(_TOTAL, total, pairs), *curves(intervals(seen.policy, seen.counts, seen.labels))]
    metrics = [Metric(key=key, value=value, step=step, timestamp=at) for key, value, step in values]
    registry.log_metrics(seen.run, metrics)


def drawn(registry: Registry, seen: Standing) -> str:
    """The picture of a rollout, from what every pass has logged of it."""
    history: dict[Guard, list[Point]] = {}
    for guard in intervals(seen.policy, seen.counts, seen.labels):
        parts = [registry.metric_history(seen.run, f"{guard}/{part}") for part in ("low", "mean", "high")]
        both = parts[0].keys() & parts[1].keys() & parts[2].keys()
        history[guard] = [Point(pairs, *(part[pairs] for part in parts)) for pairs in sorted(both)]
    entries = [entry.rollout for entry in seen.entries if entry.action in ("start", "step") and entry.rollout]
    return picture(seen.policy, history, [(each.counts.pairs, each.weight) for each in entries])


def status(settings: Settings, model: str) -> Standing:
    """How the model's last rollout stands. Raises UserError when there never was one."""
    registry = Registry(settings)
    check_model(registry, model)
    seen = standing(registry, read_ledger(registry, model))
    if seen is None:
        raise UserError(
            f"{model} never had a rollout: models.{model}.rollout in mlflow.yaml makes `slipway promote {model} VERSION` begin one."
        )
    return seen


def rolls(registry: Registry, model: str, version: int) -> bool:
    """Whether a rollout of this version is open."""
    going_on = open_rollout(read_ledger(registry, model).entries)
    return going_on is not None and going_on.terms.new == version


def open_rollouts(registry: Registry) -> dict[str, Rollout]:
    """The rollout that is open of each model that has one."""
    last = {name: open_rollout(read_ledger(registry, name).entries) for name in _told(registry)}
    return {name: rollout for name, rollout in last.items() if rollout is not None}


def to_look_at(registry: Registry) -> list[str]:
    """The models of which a rollout goes on, or has ended and a version waited for that; of one that is paused nothing follows.

    By what servers obey, in two reads for all models; a ledger is read where that is not signed, or a version may wait.
    """
    waits = registry.newest_by_tag(WAITS_TAG, "rollout")
    found = []
    for name, text in _told(registry).items():
        record = read_standing(text)
        if record is not None and (record.open or waits.get(name, 0) <= record.new):
            goes_on = record.open
        else:
            ledger = read_ledger(registry, name)
            going_on = open_rollout(ledger.entries)
            goes_on = not going_on.paused if going_on is not None else waiting(registry, ledger) is not None
        if goes_on:
            found.append(name)
    return found


def _told(registry: Registry) -> dict[str, str]:
    """What servers obey of each model that ever had a rollout."""
    return {name: tags[ROLLOUT_TAG] for name, tags in registry.models().items() if ROLLOUT_TAG in tags}
