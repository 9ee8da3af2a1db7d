"""Who promoted what, when and why: signed entries that each name the digest of the one before, so that no past can be rewritten unseen."""

import datetime
import getpass
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field, ValidationError

from tasks.errors import UserError
from tasks.proof.signing import public_key, sign_text, signing_key, text_checker
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG, VERDICT_TAG
from tasks.system.frozen import Frozen
from tasks.system.sentences import shortened

Action = Literal["promote", "refuse", "rollback", "repair"]

FIRST = "0" * 64

_ENTRY, _DIGEST, _SIGNATURE = "slipway.entry", "slipway.digest", "slipway.signature"

_HEAD = "slipway.ledger"

_LONGEST_REASON = 2000


class LedgerEntry(Frozen):
    """One decision about a model. A refusal names in `to_version` what was refused; nothing moved."""

    sequence: int = Field(ge=1)
    at: datetime.datetime
    model: str
    action: Action
    from_version: int | None
    to_version: int | None
    who: str
    why: str
    verdict: str = Field(description="pass, inconclusive, fail, or unproved.")
    evidence: str | None = Field(description="SHA-256 of the version's evidence.json.")
    previous: str = Field(description="Digest of the entry before.")

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
        return self.action != "refuse"


class Ledger(Frozen):
    """A model's entries in order, and where the chain breaks, in words."""

    model: str
    entries: tuple[LedgerEntry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        return self.entries[-1].digest if self.entries else FIRST

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
            entry.action in ("promote", "rollback") and entry.to_version == version for entry in self.entries
        )

    def refused(self, version: int) -> bool:
        return any(entry.action == "refuse" and entry.to_version == version for entry in self.entries)

    def served(self, start: datetime.datetime, end: datetime.datetime) -> tuple[LedgerEntry, ...]:
        """The entry in force at `start`, and those that moved the champion from then until `end`."""
        moves = [entry for entry in self.entries if entry.moved]
        before = [entry for entry in moves if entry.at < start]
        return (*before[-1:], *(entry for entry in moves if start <= entry.at < end))


def read_ledger(registry: Registry, model: str) -> Ledger:
    """The model's whole ledger, checked."""
    entries: list[LedgerEntry] = []
    problems: list[str] = []
    signatures: dict[str, str] = {}
    for run_id, tags in registry.ledger_entries(model):
        try:
            entry = LedgerEntry.model_validate_json(tags.get(_ENTRY, ""))
        except ValidationError:
            problems.append(f"run {run_id} in slipway-ledger/{model} is no entry that can be read")
            continue
        entries.append(entry)
        signatures[entry.digest] = tags.get(_SIGNATURE, "")
        problems += _altered(entry, tags)
    entries.sort(key=lambda entry: (entry.sequence, entry.at))
    problems += check_chain(entries)
    problems += _cut_short(entries, (registry.model_tags(model) or {}).get(_HEAD))
    problems += _unsigned(model, entries, signatures)
    return Ledger(model=model, entries=tuple(entries), problems=tuple(problems))


def append(registry: Registry, entry: LedgerEntry) -> None:
    """Write one entry, signed where the key is: a run whose tags come into being together, so that a crash leaves it whole or not there."""
    tags = {**_shown(entry), _ENTRY: entry.model_dump_json(), _DIGEST: entry.digest}
    if key := signing_key():
        tags[_SIGNATURE] = sign_text(entry.canonical, key)
    registry.add_ledger_entry(entry.model, _title(entry), tags)
    registry.tag_model(entry.model, _HEAD, f"{entry.sequence} {entry.digest}")


def check_chain(entries: Sequence[LedgerEntry]) -> Iterator[str]:
    """Where entries, in order, do not follow from each other."""
    digest, sequence, serving = FIRST, 0, None
    for entry in entries:
        where = f"entry {entry.sequence} ({entry.at:%Y-%m-%d %H:%M}, {_title(entry)})"
        if entry.sequence == sequence:
            yield f"{where} is there twice"
        elif entry.sequence != sequence + 1:
            yield f"{where} follows entry {sequence}: what was between is gone"
        elif entry.previous != digest:
            yield f"{where} does not follow from the entry before it: one of the two was rewritten"
        elif entry.from_version != serving:
            yield f"{where} starts from {_v(entry.from_version)} where {_v(serving)} served"
        digest, sequence = entry.digest, entry.sequence
        serving = entry.to_version if entry.moved else serving


def compose(
    registry: Registry,
    ledger: Ledger,
    action: Action,
    version: Version | None,
    *,
    why: str,
    who: str | None,
    verdict: str | None = None,
) -> LedgerEntry:
    """The entry that would come next. Raises UserError for a reason that is empty or too long to keep, or a key that cannot sign."""
    if not why.strip():
        raise UserError("A reason is needed, for whoever reads the history: --reason TEXT.")
    if len(why) > _LONGEST_REASON:
        raise UserError(
            f"The reason has {len(why):,} characters; {_LONGEST_REASON:,} are kept. Link to the rest."
        )
    if key := signing_key():
        sign_text("", key)  # what cannot be signed is said before anything is moved
    tags = registry.tags(version) if version is not None else {}
    return LedgerEntry(
        sequence=(ledger.entries[-1].sequence if ledger.entries else 0) + 1,
        at=datetime.datetime.now(datetime.UTC),
        model=ledger.model,
        action=action,
        from_version=ledger.serving,
        to_version=version.version if version is not None else None,
        who=decided_by(who),
        why=why.strip(),
        verdict=verdict or tags.get(VERDICT_TAG, "unproved"),
        evidence=tags.get(EVIDENCE_TAG),
        previous=ledger.head,
    )


def in_short(reasons: Sequence[str]) -> str:
    """A verdict's reasons as one that fits an entry; the evidence has them whole."""
    return shortened("; ".join(reasons), _LONGEST_REASON - 1)


def decided_by(given: str | None = None) -> str:
    """Who decides: as given, else SLIPWAY_USER, else the operating system's user."""
    if name := (given or os.environ.get("SLIPWAY_USER", "")).strip():
        return name[:200]
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def _altered(entry: LedgerEntry, tags: dict[str, str]) -> Iterator[str]:
    if tags.get(_DIGEST) != entry.digest:
        yield f"entry {entry.sequence} was altered after it was written: its digest does not fit"
    for name, value in _shown(entry).items():
        if tags.get(name) != value:
            yield f"entry {entry.sequence}: its tag {name!r} was changed from {value!r} to {tags.get(name)!r}"


def _cut_short(entries: Sequence[LedgerEntry], head: str | None) -> Iterator[str]:
    """The registered model remembers the last entry: entries that were deleted from the end are missed."""
    if head is None:
        return
    sequence, _, digest = head.partition(" ")
    digests = [entry.digest for entry in entries if str(entry.sequence) == sequence]
    if not digests:
        yield f"the ledger ends before entry {sequence}, which was written: entries are missing at its end"
    elif digest not in digests:
        yield f"entry {sequence} is not the one that was written: the end of the ledger was replaced"


def _unsigned(model: str, entries: Sequence[LedgerEntry], signatures: dict[str, str]) -> Iterator[str]:
    """Digests can be made anew by whoever can write to MLflow, and signatures only by whoever has the key."""
    if not entries:
        return
    try:
        key = public_key()
        fits = text_checker(key)
    except UserError as error:
        yield f"who signed the ledger is not checked: {error}"
        return
    for entry in entries:
        where = f"entry {entry.sequence} ({_title(entry)})"
        if entry.model != model:
            yield f"{where} is about {entry.model}, not {model}"
        if not (signature := signatures[entry.digest]):
            yield f"{where} is not signed"
        elif not fits(entry.canonical, signature):
            yield f"{where} is not signed by the owner of {key}"


def _shown(entry: LedgerEntry) -> dict[str, str]:
    """What MLflow's table of runs shows of an entry."""
    return {
        "action": entry.action,
        "from": _v(entry.from_version),
        "to": _v(entry.to_version),
        "who": entry.who,
        "why": entry.why,
        "verdict": entry.verdict,
    }


def _title(entry: LedgerEntry) -> str:
    return f"{entry.action} {_v(entry.from_version)} → {_v(entry.to_version)}"


def _v(version: int | None) -> str:
    return "none" if version is None else f"v{version}"
