"""Decisions are claimed in the ledger first, and then carried out by whoever comes next: permit, aliases, and what servers obey of a rollout.

The ledger is the decision and all else follows from it, so that a process killed at any moment leaves either nothing or a decision
that the next one carries out. Two that decide at once want the same place in the ledger: one has it, the other is told.
"""

from tasks.promotion.entries import Action, Ledger, LedgerEntry, Origin
from tasks.promotion.ledger import claim, close, compose, read_ledger
from tasks.promotion.permits import grant, withdraw
from tasks.promotion.rollouts import last_rollout, read_standing
from tasks.proof.permit import Basis
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.status_tags import StatusTag, publish
from tasks.rollout.evidence import RolloutEvidence
from tasks.rollout.record import ROLLOUT_TAG, sign_record
from tasks.system.signing import signing_key


def enact(
    registry: Registry,
    ledger: Ledger,
    action: Action,
    version: Version | None,
    *,
    why: str,
    who: str | None,
    verdict: str | None = None,
    origin: Origin | None = None,
    rollout: RolloutEvidence | None = None,
) -> LedgerEntry:
    """Claim what is decided after `ledger`, and carry it out; its entry. Raises StaleError when another decision came first."""
    entry = compose(
        registry, ledger, action, version, why=why, who=who, verdict=verdict, origin=origin, rollout=rollout
    )
    claim(registry, ledger, entry)
    carry_out(registry, ledger.model)
    return entry


def carry_out(registry: Registry, model: str) -> Ledger:
    """Make permit and aliases what the ledger's last entry says; again when another decided meanwhile, whose move this one undid."""
    head = None
    while (ledger := read_ledger(registry, model)).head != head:
        head = ledger.head
        if ledger.unfinished is not None:
            _tell_servers(registry, ledger.unfinished)
            _tell_people(registry, ledger.unfinished)
        align(registry, ledger)
        tell_rollout(registry, ledger)
        if ledger.unfinished is not None:
            close(registry, ledger)
    return ledger


def _tell_servers(registry: Registry, entry: LedgerEntry) -> None:
    """The permit comes before the alias: servers follow that, and load nothing without it."""
    version = None if entry.to_version is None else registry.version(entry.model, entry.to_version)
    if version is None or entry.action in ("step", "pause", "resume"):
        return
    if entry.action in ("refuse", "abort"):
        withdraw(registry, version, why=entry.why, by=entry.who)
    else:
        gate = entry.verdict == "pass" and entry.action in ("promote", "start")
        basis: Basis = "gate" if gate else "approval"
        named = entry.digest if entry.moved else ""
        grant(registry, version, basis=basis, why=entry.why, by=entry.who, entry=named)


def _tell_people(registry: Registry, entry: LedgerEntry) -> None:
    """Since when a champion serves, and why: the aliases do not say."""
    version = registry.version(entry.model, entry.to_version) if entry.moved and entry.to_version else None
    if version is None:
        return
    addresses = {
        "mlflow": registry.version_address(version),
        "report": registry.run_address(entry.model, version.run_id, "report.html"),
    }
    tag = StatusTag(
        model=entry.model,
        subject="champion",
        at=entry.at,
        said=f"by {entry.person}: {entry.why}",
        version=version.version,
        pages={page: address for page, address in addresses.items() if address},
    )
    publish(registry, tag)


def tell_rollout(registry: Registry, ledger: Ledger) -> None:
    """Make the record that servers obey what the ledger says; signed again only when it says something else."""
    rollout = last_rollout(ledger.entries)
    if rollout is None:
        return
    text = (registry.model_tags(ledger.model) or {}).get(ROLLOUT_TAG)
    if read_standing(text) != rollout.record:
        key = signing_key()
        assert key is not None, "the ledger's entry was signed first"
        registry.tag_model(ledger.model, {ROLLOUT_TAG: sign_record(rollout.record, key)})


def align(registry: Registry, ledger: Ledger) -> None:
    """The move of `champion` is one transaction: before it the old one serves, after it the new, which is no challenger any more."""
    for alias, version in (("champion", ledger.serving), ("previous", ledger.before)):
        current = registry.number(ledger.model, alias)
        if version is not None and registry.version(ledger.model, version) is None:
            version = None  # someone deleted it
        if version is None and current is not None:
            registry.delete_alias(ledger.model, alias)
        elif version is not None and version != current:
            registry.set_alias(ledger.model, alias, version)
    if ledger.serving is not None and registry.number(ledger.model, "challenger") == ledger.serving:
        registry.delete_alias(ledger.model, "challenger")
