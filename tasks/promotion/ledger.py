"""Who promoted what, when and why: signed entries, each claimed once, so that no past can be rewritten and no decision made twice.

The truth is one MLflow run a model, whose parameters are written once and never again: `entry-7` is the seventh decision, and of two
that want to be it, one is (`claim`). A run an entry shows the same in MLflow's table. How far it had come is remembered outside of
MLflow (`head`), so that a ledger that was cut short, lost or restored from yesterday is noticed.
"""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from tasks.errors import RefusedError, StepError, UserError
from tasks.promotion.deciders import decided_by
from tasks.promotion.entries import Action, Ledger, LedgerEntry, Origin, check_chain, clock_notes, name_of
from tasks.promotion.head import Head, read_head, write_head
from tasks.promotion.rollouts import check_rollouts
from tasks.records import Version
from tasks.registry.key_changes import refresh_keys
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG, VERDICT_TAG
from tasks.rollout.evidence import RolloutEvidence
from tasks.system.frozen import Frozen
from tasks.system.keyring import Keyring
from tasks.system.sentences import shortened
from tasks.system.signers import PrivateKey
from tasks.system.signing import keyring, public_key, revoking, sign_text, signing_key

_ENTRY, _DIGEST, _SIGNATURE = "slipway.entry", "slipway.digest", "slipway.signature"

_CLAIM, _DONE, _BEGUN = "entry-", "done-", "begun"

_NUMBERED = re.compile(rf"{_CLAIM}([1-9]\d{{0,8}})")

_LONGEST_REASON = 2000

_LONGEST_CLAIM = 6000
"""MLflow cuts a longer parameter without a word."""


class LedgerError(StepError):
    """A ledger that is not what it was: no decision is made on it; what serves goes on serving."""


class StaleError(RefusedError):
    """Another decision came first: judge again against what it left, or give up."""


class _Signed(Frozen):
    """An entry as it is claimed."""

    entry: LedgerEntry
    signature: str | None


def read_ledger(
    registry: Registry, model: str, *, whole: bool = False, keys: Keyring | None = None
) -> Ledger:
    """The model's ledger, checked from where this home has seen it hold; `whole`: from the start, and against MLflow's table.

    `keys`: by which its signatures count, default: this home's.
    """
    unknown = refresh_keys(registry)
    # Others decide meanwhile: each is read after what it may be behind of.
    done, table = _shown_when(registry, model) if whole else ({}, None)
    head, claims = read_head(registry.settings, model, keys), registry.claims(model)
    table = table if claims or whole else _Table(registry, model)
    signed, unreadable = _read_claims(claims) if claims else (table.signed if table else [], [])
    entries = tuple(each.entry for each in signed)
    problems = [
        *unknown,
        *_lost(model, claims),
        *_unreadable(entries, unreadable),
        *_missing(entries, head),
        *_broken(model, signed, None if whole else head, keys),
    ]
    if table:
        problems += (*table.problems, *table.differences(entries, done))
    last = entries[-1] if entries else None
    owed = claims and last and claims.get(f"{_DONE}{last.sequence}") != last.digest
    return Ledger(
        model=model,
        entries=entries,
        problems=tuple(problems),
        notes=tuple(clock_notes(entries)),
        unfinished=last if owed else None,
    )


def sound_ledger(registry: Registry, model: str) -> Ledger:
    """The ledger to decide on. Raises LedgerError when it is not whole, signed, and what this home has seen continued.

    Raises UserError first where decisions cannot be signed.
    """
    _key(model)
    ledger = read_ledger(registry, model)
    if ledger.problems:
        raise LedgerError(
            f"Nothing is decided about {model}, and what serves goes on: {ledger.problems[0]}. Restore MLflow's database, "
            f"or sign the ledger as it stands: `slipway ledger accept {model} --reason TEXT`."
        )
    return ledger


def claim(registry: Registry, ledger: Ledger, entry: LedgerEntry) -> Ledger:
    """Make `entry` the next of the ledger; the ledger with it. Raises StaleError when another decision is, then nothing is written.

    What is claimed is decided: whoever comes next carries it out, if whoever claimed it does not (see `champion`).
    """
    if not registry.claims(ledger.model):
        _carry_over(registry, ledger)
    text = _Signed(entry=entry, signature=sign_text(entry.canonical, _key(entry.model))).model_dump_json()
    if len(text) > _LONGEST_CLAIM:
        raise UserError(
            f"The decision takes {len(text):,} characters and {_LONGEST_CLAIM:,} are kept: shorten --reason."
        )
    if registry.claim(ledger.model, f"{_CLAIM}{entry.sequence}", text) != text:
        raise StaleError(f"Another decision about {ledger.model} came first; nothing was moved.")
    return ledger.model_copy(update={"entries": (*ledger.entries, entry), "unfinished": entry})


def close(registry: Registry, ledger: Ledger) -> None:
    """Show the last entry in MLflow's table, and remember that it was carried out; again changes nothing.

    Here first, and then in MLflow: until it says done, whoever comes next does all of it again.
    """
    entry = ledger.entries[-1]
    tags = {
        _ENTRY: entry.model_dump_json(),
        _DIGEST: entry.digest,
        _SIGNATURE: sign_text(entry.canonical, _key(entry.model)),
    }
    registry.add_ledger_entry(entry.model, entry.title, _shown(entry) | tags)
    write_head(registry.settings, entry.model, Head(sequence=entry.sequence, digest=entry.digest))
    registry.claim(entry.model, f"{_DONE}{entry.sequence}", entry.digest)


def compose(
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
    """The entry that would come next. Raises UserError for a reason that is empty or too long to keep, or a key that cannot sign."""
    if not why.strip():
        raise UserError("A reason is needed, for whoever reads the history: --reason TEXT.")
    if len(why) > _LONGEST_REASON:
        raise UserError(
            f"The reason has {len(why):,} characters; {_LONGEST_REASON:,} are kept. Link to the rest."
        )
    tags = registry.tags(version) if version is not None else {}
    return LedgerEntry(
        sequence=ledger.sequence + 1,
        at=datetime.datetime.now(datetime.UTC),
        model=ledger.model,
        action=action,
        from_version=ledger.serving,
        to_version=version.version if version is not None else None,
        **decided_by(registry.settings, who).model_dump(),
        why=why.strip(),
        verdict=verdict or tags.get(VERDICT_TAG, "unproved"),
        evidence=tags.get(EVIDENCE_TAG),
        previous=ledger.head,
        origin=origin,
        rollout=rollout,
    )


def accept(registry: Registry, model: str, *, why: str, who: str | None = None) -> LedgerEntry:
    """Claim the ledger as it stands as a new start, after entries were lost, altered or never signed; `repair` carries it out."""
    ledger, head = read_ledger(registry, model), read_head(registry.settings, model)
    if not ledger.problems:
        raise UserError(f"The ledger of {model} is whole: there is nothing to accept.")
    champion = registry.by_alias(model, "champion")
    entry = compose(registry, ledger, "accept", champion, why=why, who=who)
    taken = max(_read_claims(registry.claims(model) or {})[1], default=0)
    if head is not None and head.sequence >= entry.sequence:
        entry = entry.model_copy(update={"sequence": head.sequence + 1, "previous": head.digest})
    # Numbers whose entries are lost, or that somebody wrote something else under, are not used again.
    entry = entry.model_copy(update={"sequence": max(entry.sequence, taken + 1)})
    claim(registry, ledger, entry)
    return entry


def in_short(reasons: Sequence[str]) -> str:
    """A verdict's reasons as one that fits an entry; the evidence has them whole."""
    return shortened("; ".join(reasons), _LONGEST_REASON - 1)


class _Table:
    """The ledger as MLflow's table of runs shows it: all there is of decisions made before they were claimed."""

    def __init__(self, registry: Registry, model: str) -> None:
        self.problems: list[str] = []
        signed: dict[str, _Signed] = {}
        for run_id, tags in registry.ledger_entries(model):
            try:
                entry = LedgerEntry.model_validate_json(tags.get(_ENTRY, ""))
            except ValidationError:
                self.problems.append(f"run {run_id} in slipway-ledger/{model} is no entry that can be read")
                continue
            signed[entry.digest] = _Signed(entry=entry, signature=tags.get(_SIGNATURE))
            self.problems += _altered(entry, tags)
        self.signed = sorted(signed.values(), key=lambda each: (each.entry.sequence, each.entry.at))

    def differences(self, entries: Sequence[LedgerEntry], done: Mapping[str, str]) -> Iterator[str]:
        """`done`: the claims as they were before the table was read."""
        shown = {each.entry.digest for each in self.signed}
        yield from (
            f"{entry} was deleted from MLflow's table; the ledger has it"
            for entry in entries
            if f"{_DONE}{entry.sequence}" in done and entry.digest not in shown
        )
        claimed = {entry.digest for entry in entries}
        yield from (
            f"MLflow's table shows {each.entry}, which was never decided"
            for each in self.signed
            if each.entry.digest not in claimed
        )


def _shown_when(registry: Registry, model: str) -> tuple[dict[str, str], _Table]:
    return registry.claims(model) or {}, _Table(registry, model)


def _read_claims(claims: Mapping[str, str]) -> tuple[list[_Signed], list[int]]:
    """The entries in order, and the numbers under which stands something else: whoever can write to MLflow can claim one."""
    signed, unreadable = [], []
    for name, text in claims.items():
        if (numbered := _NUMBERED.fullmatch(name)) is None:
            continue
        try:
            each = _Signed.model_validate_json(text)
        except ValidationError:
            each = None
        if each is not None and each.entry.sequence == int(numbered[1]):
            signed.append(each)
        else:
            unreadable.append(int(numbered[1]))
    return sorted(signed, key=lambda each: each.entry.sequence), unreadable


def _unreadable(entries: Sequence[LedgerEntry], numbers: Sequence[int]) -> Iterator[str]:
    accepted = max((entry.sequence for entry in entries if entry.action == "accept"), default=0)
    for number in sorted(number for number in numbers if number > accepted):
        yield f"what its ledger has as entry {number} is no entry that can be read: somebody else wrote it"


def _lost(model: str, claims: Mapping[str, str] | None) -> Iterator[str]:
    if claims is not None and not claims:
        yield f"the run that holds its ledger was deleted from slipway-ledger/{model}"


def _carry_over(registry: Registry, ledger: Ledger) -> None:
    """Claim what was decided before there were claims; and that they began, for a run that holds nothing looks like one that was deleted."""
    signed = _Table(registry, ledger.model).signed
    values = {_BEGUN: ledger.model}
    values |= {f"{_CLAIM}{each.entry.sequence}": each.model_dump_json() for each in signed}
    values |= {f"{_DONE}{each.entry.sequence}": each.entry.digest for each in signed}
    registry.begin_claims(ledger.model, values)


def _from_acceptance(signed: Sequence[_Signed]) -> Sequence[_Signed]:
    """What has to hold: all of it, or what came since somebody accepted what was there."""
    accepted = [index for index, each in enumerate(signed) if each.entry.action == "accept"]
    return signed[accepted[-1] :] if accepted else signed


def _broken(model: str, signed: Sequence[_Signed], head: Head | None, keys: Keyring | None) -> Iterator[str]:
    """Entries up to `head` were checked before: the digests that lead there vouch for them."""
    holding = _from_acceptance(signed)
    entries = [each.entry for each in holding]
    yield from (breaks := list(check_chain(entries)) or list(check_rollouts(entries)))
    seen = head.sequence if head is not None and not breaks and not revoking() else 0
    yield from _unsigned(model, [each for each in holding if each.entry.sequence > seen], keys)


def _missing(entries: Sequence[LedgerEntry], head: Head | None) -> Iterator[str]:
    """The last entry that was seen from here has to be there still, unless somebody has accepted its loss since."""
    if head is None or any(entry.action == "accept" and entry.sequence > head.sequence for entry in entries):
        return
    digests = {entry.sequence: entry.digest for entry in entries}
    if head.sequence not in digests:
        last = max(digests, default=0)
        yield f"its ledger ends with entry {last}, and entry {head.sequence} was made: it was cut short, or an older database put back"
    elif digests[head.sequence] != head.digest:
        yield f"entry {head.sequence} of its ledger is not the one that was made: the ledger was replaced"


def _altered(entry: LedgerEntry, tags: Mapping[str, str]) -> Iterator[str]:
    if tags.get(_DIGEST) != entry.digest:
        yield f"entry {entry.sequence} was altered after it was written: its digest does not fit"
    for name, value in _shown(entry).items():
        if tags.get(name) != value:
            yield f"entry {entry.sequence}: its tag {name!r} was changed from {value!r} to {tags.get(name)!r}"


def _unsigned(model: str, signed: Sequence[_Signed], given: Keyring | None) -> Iterator[str]:
    """Digests can be made anew by whoever can write to MLflow, and signatures only by whoever has the key."""
    if not signed:
        return
    try:
        key, keys = public_key(), given or keyring()
    except UserError as error:
        yield f"who signed the ledger is not checked: {error}"
        return
    for each in signed:
        entry = each.entry
        state = keys.signer(entry.canonical, each.signature) if each.signature else None
        if entry.model != model:
            yield f"{entry} is about {entry.model}, not {model}"
        if not each.signature:
            yield f"{entry} is not signed"
        elif state is None:
            yield f"{entry} is not signed by the owner of {key}"
        elif why_not := state.refusal(entry.digest):
            yield f"{entry} is signed by {why_not}"


def _key(model: str) -> PrivateKey:
    if (key := signing_key()) is None:
        raise UserError(
            f"A decision about {model} is signed, and this machine has the public key alone: decide where the private one is, or set SLIPWAY_PRIVATE_KEY."
        )
    return key


def _shown(entry: LedgerEntry) -> dict[str, str]:
    """What MLflow's table of runs shows of an entry."""
    origin = {} if entry.origin is None else {"origin": str(entry.origin)}
    rollout = {} if entry.rollout is None else {"rollout": str(entry.rollout)}
    shown = {
        "action": entry.action,
        "from": name_of(entry.from_version),
        "to": name_of(entry.to_version),
        "who": entry.person,
        "why": entry.why,
        "verdict": entry.verdict,
    }
    return origin | rollout | shown
