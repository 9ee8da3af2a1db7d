"""Where a model's rollout stands, by its ledger alone; and what servers are told of it, which follows from that."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from tasks.promotion.deciders import Rule
from tasks.promotion.entries import LedgerEntry
from tasks.rollout.decision import Place, Pod
from tasks.rollout.evidence import RolloutEvidence, Terms
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import RecordError, RolloutRecord, read_record
from tasks.system.frozen import Frozen
from tasks.system.signing import keyring

BY_EVIDENCE = Rule("the rollout")
"""Who decided, where a controller did what followed from the counts."""

_GOES_ON = ("step", "pause", "resume")


class Rollout(Frozen):
    """A model's last rollout: its entries from the start on, of which the last may have ended it."""

    entries: tuple[LedgerEntry, ...]
    ended: bool = False

    @property
    def start(self) -> LedgerEntry:
        return self.entries[0]

    @property
    def last(self) -> LedgerEntry:
        return self.entries[-1]

    @property
    def stepped(self) -> LedgerEntry:
        """The entry that began the step at which it stands."""
        return next(entry for entry in reversed(self.entries) if entry.action in ("start", "step"))

    @property
    def stands(self) -> RolloutEvidence:
        """What the last entry of it says; a champion that moved for another reason says nothing."""
        return next(entry.rollout for entry in reversed(self.entries) if entry.rollout is not None)

    @property
    def terms(self) -> Terms:
        assert self.start.rollout is not None and self.start.rollout.terms is not None
        return self.start.rollout.terms

    @property
    def paused(self) -> bool:
        return self.last.action == "pause"

    @property
    def where(self) -> str:
        """version 3 beside it, at 10% of the keys: for people."""
        weight = self.stands.weight
        place = f"at {100 * weight:g}% of the keys" if weight else "in shadow"
        return f"version {self.terms.new} beside it, {'paused' if self.paused else place}"

    @property
    def record(self) -> RolloutRecord:
        terms, stands = self.terms, self.stands
        return RolloutRecord(
            model=self.start.model,
            run=stands.run,
            old=terms.old,
            new=terms.new,
            old_sha256=terms.old_sha256,
            new_sha256=terms.new_sha256,
            salt=terms.salt,
            step=stands.step,
            weight=stands.weight,
            open=not self.ended and not self.paused,
            sequence=self.last.sequence,
            key=terms.policy.key,
            margin=terms.policy.margin,
        )

    def place(self, pods: Mapping[str, Pod]) -> Place:
        """Where it stands for a decision, with what pods reported."""
        stepped = self.stepped
        assert stepped.rollout is not None
        return Place(
            step=self.stands.step,
            sequence=self.last.sequence,
            began=self.start.at,
            stepped=stepped.at,
            last=self.last.at,
            then=stepped.rollout.counts,
            paused=self.paused,
            pods=pods,
        )


def last_rollout(entries: Sequence[LedgerEntry]) -> Rollout | None:
    """The rollout that was begun last, or None; whatever moves the champion ends it."""
    rollout = None
    for entry in entries:
        rollout = _with(rollout, entry)
    return rollout


def _with(rollout: Rollout | None, entry: LedgerEntry) -> Rollout | None:
    if entry.action == "start" and entry.rollout is not None and entry.rollout.terms is not None:
        return Rollout(entries=(entry,))
    if rollout is not None and not rollout.ended:
        ends = entry.action == "abort" or entry.moved
        if ends or entry.action in _GOES_ON:
            return Rollout(entries=(*rollout.entries, entry), ended=ends)
    return rollout


def open_rollout(entries: Sequence[LedgerEntry]) -> Rollout | None:
    """The rollout that is going on, or paused."""
    rollout = last_rollout(entries)
    return None if rollout is None or rollout.ended else rollout


def each_decision(entries: Sequence[LedgerEntry]) -> Iterator[tuple[LedgerEntry, Rollout | None]]:
    """Every entry, and the rollout that was open before it."""
    rollout: Rollout | None = None
    for entry in entries:
        yield entry, None if rollout is None or rollout.ended else rollout
        rollout = _with(rollout, entry)


def policy_sha256(policy: RolloutPolicy) -> str:
    return hashlib.sha256(policy.model_dump_json().encode()).hexdigest()


def check_rollouts(entries: Sequence[LedgerEntry]) -> Iterator[str]:
    """Where a rollout's entries, in a chain that holds, do not follow from each other."""
    for entry, before in each_decision(entries):
        if entry.action == "start":
            if entry.rollout is None or entry.rollout.terms is None:
                yield f"{entry} does not say on what terms"
            elif policy_sha256(entry.rollout.terms.policy) != entry.rollout.policy:
                yield f"{entry} has another policy than the one that its evidence names"
            if before is not None:
                yield f"{entry} starts a second rollout while {before.start} is going on"
        elif entry.action in (*_GOES_ON, "abort", "finish") or entry.rollout is not None:
            if before is None or entry.rollout is None:
                yield f"{entry} belongs to no rollout that was going on"
            else:
                yield from _departs(entry, entry.rollout, before)


def _departs(entry: LedgerEntry, evidence: RolloutEvidence, before: Rollout) -> Iterator[str]:
    stands, steps = before.stands, before.terms.policy.steps
    if (entry.to_version, evidence.run) != (before.terms.new, stands.run):
        yield f"{entry} is about another rollout than the one that was going on"
    step = stands.step + (entry.action == "step")
    if step >= len(steps) or (evidence.step, evidence.weight) != (step, steps[step]):
        yield f"{entry} stands at step {evidence.step} ({evidence.weight:.2%}), which does not follow step {stands.step}"


def read_standing(text: str | None) -> RolloutRecord | None:
    """The record in a model's tag; None without one, or for one that no server would obey."""
    try:
        return read_record(text, keyring().fits) if text else None
    except RecordError:
        return None
