"""The ledger's records: one decision an entry, each naming the digest of the one before, and what follows from them in order."""

import datetime
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from tasks.rollout.evidence import RolloutEvidence
from tasks.system.frozen import Frozen

Action = Literal[
    "promote",
    "refuse",
    "rollback",
    "repair",
    "accept",
    "start",
    "step",
    "pause",
    "resume",
    "abort",
    "finish",
]

_MOVES: frozenset[Action] = frozenset(("promote", "rollback", "repair", "accept", "finish"))

FIRST = "0" * 64


class Origin(Frozen):
    """Where a version was promoted before it was copied here: what its ledger there says of it."""

    registry: str = Field(description="Its address, without an account.")
    version: int
    entry: str = Field(description="Digest of the ledger's entry there that let it serve.")
    who: str
    why: str

    def __str__(self) -> str:
        return f"v{self.version} of {self.registry}, by {self.who}: {self.why} (entry {self.entry[:16]}…)"


class LedgerEntry(Frozen):
    """One decision about a model. A refusal names in `to_version` what was refused, and what a rollout decides its new version; nothing moved."""

    sequence: int = Field(ge=1)
    at: datetime.datetime
    model: str
    action: Action
    from_version: int | None
    to_version: int | None
    who: str
    why: str
    account: str | None = Field(
        None,
        description="As whom MLflow knew the process, where that is not `who`; else left out, as in entries of before.",
        exclude_if=lambda account: account is None,
    )
    claimed: bool = Field(
        False,
        description="Nothing proves that it was `who`; else left out, as in entries of before, of which that is not known.",
        exclude_if=lambda claimed: not claimed,
    )
    verdict: str = Field(description="pass, inconclusive, fail, or unproved.")
    evidence: str | None = Field(description="SHA-256 of the version's evidence.json.")
    previous: str = Field(description="Digest of the entry before.")
    origin: Origin | None = Field(
        None,
        description="Of a version that was copied here; else left out, as in entries of before.",
        exclude_if=lambda origin: origin is None,
    )
    rollout: RolloutEvidence | None = Field(
        None,
        description="What a rollout's decision rests on; else left out, as in entries of before.",
        exclude_if=lambda rollout: rollout is None,
    )

    @property
    def canonical(self) -> str:
        """The one JSON text that the digest is taken of."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        )

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @property
    def moved(self) -> bool:
        """Whether `to_version` served from then on."""
        return self.action in _MOVES

    @property
    def person(self) -> str:
        """Who it was, with how far that is known."""
        account = f", account {self.account}" if self.account else ""
        return f"{self.who} (claimed{account})" if self.claimed else self.who

    @property
    def title(self) -> str:
        """What it decided; a refusal moves nothing, so that an arrow would mislead."""
        if self.action == "refuse":
            return f"refuse {name_of(self.to_version)}"
        return f"{self.action} {name_of(self.from_version)} → {name_of(self.to_version)}"

    def __str__(self) -> str:
        return f"entry {self.sequence} ({self.at:%Y-%m-%d %H:%M}, {self.title})"


class Ledger(Frozen):
    """A model's entries in order; where the chain breaks, in words; and what else whoever reads it should know."""

    model: str
    entries: tuple[LedgerEntry, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unfinished: LedgerEntry | None = Field(None, description="Decided, and perhaps not yet carried out.")

    @property
    def head(self) -> str:
        return self.entries[-1].digest if self.entries else FIRST

    @property
    def sequence(self) -> int:
        return self.entries[-1].sequence if self.entries else 0

    @property
    def serving(self) -> int | None:
        """The version that serves by what is written here."""
        return next((entry.to_version for entry in reversed(self.entries) if entry.moved), None)

    @property
    def before(self) -> int | None:
        """What `previous` should name: a rollback undoes promotions, so that going back twice goes back two."""
        stack: list[int] = []
        for entry in self.entries:
            if entry.moved and entry.to_version is not None:
                if entry.action == "rollback" and entry.to_version in stack:
                    del stack[stack.index(entry.to_version) :]
                if stack[-1:] != [entry.to_version]:  # again after the alias was taken away is not twice
                    stack.append(entry.to_version)
        return next((version for version in reversed(stack) if version != self.serving), None)

    def promoted(self, version: int) -> bool:
        """Whether someone, or a gate, once let this version serve."""
        return any(
            entry.action in ("promote", "rollback", "finish") and entry.to_version == version
            for entry in self.entries
        )

    def refused(self, version: int) -> bool:
        return any(entry.action == "refuse" and entry.to_version == version for entry in self.entries)

    def served(self, start: datetime.datetime, end: datetime.datetime) -> tuple[LedgerEntry, ...]:
        """The entry in force at `start`, and those that moved the champion from then until `end`; by the chain's order."""
        moves = [
            (at, entry) for at, entry in zip(times(self.entries), self.entries, strict=True) if entry.moved
        ]
        before = [entry for at, entry in moves if at < start]
        return (*before[-1:], *(entry for at, entry in moves if start <= at < end))


def check_chain(entries: Sequence[LedgerEntry]) -> Iterator[str]:
    """Where entries, in order, do not follow from each other; an `accept` begins anew."""
    digest, sequence, serving = FIRST, 0, None
    for entry in entries:
        if entry.action != "accept":
            yield from _breaks(entry, digest, sequence, serving)
        digest, sequence = entry.digest, entry.sequence
        serving = entry.to_version if entry.moved else serving


def _breaks(entry: LedgerEntry, digest: str, sequence: int, serving: int | None) -> Iterator[str]:
    if entry.sequence == sequence:
        yield f"{entry} is there twice"
    elif entry.sequence != sequence + 1:
        yield f"{entry} follows entry {sequence}: what was between is gone"
    elif entry.previous != digest:
        yield f"{entry} does not follow from the entry before it: one of the two was rewritten"
    elif entry.from_version != serving:
        yield f"{entry} starts from {name_of(entry.from_version)} where {name_of(serving)} served"


def times(entries: Sequence[LedgerEntry]) -> list[datetime.datetime]:
    """When each entry was made, in an order that is the chain's: a clock that was wrong for a while does not reorder the past.

    The longest run of entries whose clocks agree with their order is believed; any other was made when the one before it was.
    """
    keys: list[datetime.timedelta] = []
    ends: list[int] = []
    after: dict[int, int | None] = {}
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    for index in reversed(range(len(entries))):
        key = epoch - entries[index].at
        place = bisect_right(keys, key)
        keys[place : place + 1], ends[place : place + 1] = [key], [index]
        after[index] = ends[place - 1] if place else None
    believed = set()
    trusted = ends[-1] if ends else None
    while trusted is not None:
        believed.add(trusted)
        trusted = after[trusted]
    made: list[datetime.datetime] = []
    for number, entry in enumerate(entries):
        right = number in believed
        made.append(entry.at if right else made[-1] if made else entries[min(believed)].at)
    return made


def clock_notes(entries: Sequence[LedgerEntry]) -> list[str]:
    """Entries whose clock was wrong, by the order of the chain."""
    return [
        f"{entry} was written by a clock that disagrees with the entries around it: it counts as of {at:%Y-%m-%d %H:%M}"
        for entry, at in zip(entries, times(entries), strict=True)
        if entry.at != at
    ]


def name_of(version: int | None) -> str:
    return "none" if version is None else f"v{version}"
