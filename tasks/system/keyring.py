"""Which keys are trusted, and what of each: a chain of signed hand-overs and revocations that leads from and to the key one was given.

A signature has no date that its maker could not have chosen. So a key that ends leaves an inventory: the digests of what it had signed,
listed by whoever ended it. What it signs later is on no list. A hand-over is signed by both keys, each of which vouches for the other's side of
the chain: whoever trusts one key of it, an old or a new one, can follow it. The server imports this: nothing heavy here.
"""

import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tasks.errors import StepError, UserError
from tasks.system.ecdsa import load_public, sign, verifies
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen
from tasks.system.signers import PrivateKey, fingerprint, public_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

FIRST = "0" * 64

_CHANGE, _PART = "change-", "holds-"

_NUMBERED = re.compile(rf"{_CHANGE}([1-9]\d{{0,8}})")

_PART_LENGTH = 90 * 64
"""Characters of what MLflow keeps of a parameter: digests beside each other."""


class KeyringError(StepError):
    """A record of keys that is not what it was: none of it is believed, and what was known before stays."""


class Change(Frozen):
    """A hand-over from the key `ended` to `key`, or the revocation of `ended`, which `key` signs. Both are PEM texts."""

    sequence: int = Field(ge=1)
    at: datetime.datetime
    action: Literal["rotate", "revoke"]
    key: str
    ended: str
    since: datetime.datetime | None = Field(
        None, description="From when on a revoked key was not its owner's."
    )
    who: str
    why: str
    holds: str = Field(
        description="SHA-256 of the inventory: digests of what `ended` signed and goes on holding."
    )
    previous: str = Field(description="Digest of the change before.")

    @property
    def canonical(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.canonical.encode()).hexdigest()


class SignedChange(Frozen):
    """As it is claimed; of a hand-over by the old key and the new."""

    change: Change
    signatures: tuple[str, ...]


class KeyState(Frozen):
    """What is known of one key. `holds` None: all that it signs, for it is in force. `dropped`: what a revocation took out of that; `heirs`: PEM texts."""

    pem: str
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    revoked: datetime.datetime | None = None
    why: str = ""
    holds: frozenset[str] | None = None
    dropped: frozenset[str] = frozenset()
    heirs: frozenset[str] = frozenset()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.pem)

    def __str__(self) -> str:
        return f"the key {self.fingerprint[:12]}"

    @property
    def holds_or_none(self) -> frozenset[str]:
        return self.holds or frozenset()

    def refusal(self, digest: str) -> str | None:
        """Why a signature of this key over what has `digest` does not count; None where it does."""
        if self.holds is None or digest in self.holds:
            return None
        name = str(self)
        if self.revoked is not None:
            return f"{name}, which is revoked from {self.revoked:%Y-%m-%d %H:%M} on, and nothing shows that this is older"
        return (
            f"{name}, whose successor took over at {self.until:%Y-%m-%d %H:%M} and did not find this signed: what was signed elsewhere meanwhile "
            "is made or decided again, and a registry that was not told hands over by `slipway keys rotate`"
        )


class Inventoried(Frozen):
    """A change and the inventory that it names; `number`: under which it was claimed."""

    number: int = Field(0, exclude=True)
    change: Change
    holds: frozenset[str]
    signatures: tuple[str, ...] = ()


def states(root: str, chain: Sequence[Inventoried]) -> dict[str, KeyState]:
    """Of each key of a chain, oldest first; of the `root` alone where the chain is none of its. Signatures are not looked at here."""
    known: dict[str, KeyState] = {}
    for each in chain:
        change, pem = each.change, each.change.ended
        before = known.get(pem, KeyState(pem=pem))
        ended: dict[str, object] = {
            "holds": each.holds,
            "until": before.until or change.at,
            "why": change.why,
            "heirs": before.heirs | {change.key},
        }
        if change.action == "revoke":
            # Never more than it was left with: who revokes cannot vouch for what the hand-over did not list.
            ended["holds"] = each.holds if before.holds is None else each.holds & before.holds
            ended["dropped"] = before.dropped | (before.holds_or_none - each.holds)
            ended["revoked"] = min(filter(None, (before.revoked, change.since or change.at)))
        known[pem] = before.model_copy(update=ended)
        if change.action == "rotate":
            known[change.key] = KeyState(pem=change.key, since=change.at, why=change.why)
    return known if root in known else {root: KeyState(pem=root)}


def merged(root: str, all_states: Iterable[Mapping[str, KeyState]]) -> dict[str, KeyState]:
    """Of what several registries know: a key that ended in one has ended, and what any inventory lists holds, but for what any revocation dropped.

    One registry under two addresses is two: what was learned at the first, before a revocation, does not undo it.
    """
    together: dict[str, KeyState] = {}
    for each in all_states:
        for pem, state in each.items():
            other = together.get(pem, state)
            if other.holds is not None and state.holds is not None:
                revoked = min(filter(None, (other.revoked, state.revoked)), default=None)
                dropped = other.dropped | state.dropped
                holds = (other.holds | state.holds) - dropped
                heirs = other.heirs | state.heirs
                both = {"holds": holds, "dropped": dropped, "revoked": revoked, "heirs": heirs}
                state = state.model_copy(update=both)
            together[pem] = other if state.holds is None else state
    return together or {root: KeyState(pem=root)}


class Keyring:
    """The keys that a root key leads to."""

    def __init__(self, known: Mapping[str, KeyState]) -> None:
        self.states = {state.fingerprint: state for state in known.values()}
        self._keys: dict[str, ec.EllipticCurvePublicKey] = {}

    @property
    def pems(self) -> frozenset[str]:
        return frozenset(state.pem for state in self.states.values())

    @property
    def revoking(self) -> bool:
        return any(state.revoked for state in self.states.values())

    def fits(self, text: str, signature: str) -> bool:
        """Whether a signature over a text is one that counts."""
        state = self.signer(text, signature)
        return state is not None and state.refusal(digest_of(text)) is None

    def signer(self, text: str, signature: str) -> KeyState | None:
        """Whose it is, whether or not it counts; None for a stranger's, or a damaged one."""
        return next(
            (
                state
                for name, state in reversed(self.states.items())
                if verifies(self.key(name), text, signature)
            ),
            None,
        )

    def lists(self, digest: str) -> bool:
        """Whether a key that ended was found to have signed what has this digest."""
        return any(digest in state.holds_or_none for state in self.states.values())

    def key(self, name: str) -> "ec.EllipticCurvePublicKey":
        if name not in self._keys:
            self._keys[name] = load_public(self.states[name].pem.encode(), f"The key {name[:12]}")
        return self._keys[name]

    def successors(self, name: str) -> set[str]:
        """A key and all that it led on to, none that led to it: by fingerprint."""
        found, waiting = set[str](), [name]
        while waiting:
            found.add(name := waiting.pop())
            waiting += {fingerprint(pem) for pem in self.states[name].heirs} - found
        return found

    def ended(self, name: str) -> KeyState | None:
        """What is known of a key that signs no longer."""
        state = self.states.get(name)
        return state if state is not None and state.holds is not None else None


def read_keyring(root: Path, folder: Path) -> Keyring:
    """By the public key in the file `root`, and by what is kept in `folder` of changes. Raises UserError for what is no key, KeyringError for what is damaged."""
    files = tuple(sorted(folder.glob("ring-*.json")))
    return _read_keyring(root.read_bytes(), str(root), tuple((path, path.read_bytes()) for path in files))


@lru_cache(maxsize=32)
def _read_keyring(root: bytes, name: str, kept: tuple[tuple[Path, bytes], ...]) -> Keyring:
    pem = public_pem(load_public(root, name))
    return Keyring(merged(pem, (states(pem, read_chain(_read_kept(*each), {pem})) for each in kept)))


def keep(folder: Path, registry: str, claims: Mapping[str, str], root: Path) -> bool:
    """Keep what a registry has of changes that the key in the file `root` leads to, if it goes on from what was kept of it; whether that is news.

    Raises KeyringError otherwise, and UserError for a root that is no key.
    """
    path, roots = folder / f"ring-{digest_of(registry)[:8]}.json", read_keyring(root, folder).pems
    before = _read_kept(path, path.read_bytes()) if path.is_file() else {}
    if not any(roots & {change.key, change.ended} for change in _changes(before)):
        before = {}  # of keys from before this machine was given another
    if numbers(before) == numbers(claims) and before.items() <= claims.items():
        return False
    if (after := _believed(claims, roots)) == before:
        return False
    if not before.items() <= after.items():
        raise KeyringError(
            "The registry's record of keys was cut short or rewritten: what is known of keys here stays. Restore MLflow's database."
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(after).encode())
    return True


def _read_kept(path: Path, content: bytes) -> dict[str, str]:
    try:
        kept: dict[str, str] = TypeAdapter(dict[str, str]).validate_json(content)
        list(_changes(kept))
    except ValueError as error:
        raise KeyringError(
            f"{path} is damaged, so that nobody knows here which keys ended: put it back, or remove it to learn that anew of the registry."
        ) from error
    return kept


def _changes(claims: Mapping[str, str]) -> Iterator[Change]:
    for number in numbers(claims):
        yield SignedChange.model_validate_json(claims[f"{_CHANGE}{number}"]).change


def _believed(claims: Mapping[str, str], roots: Set[str]) -> dict[str, str]:
    """The claims that a chain is made of, and nothing that somebody put beside them."""
    believed = dict[str, str]()
    for each in read_chain(claims, roots):
        name = f"{_CHANGE}{each.number}"
        believed |= {name: claims[name]} | parts(each.holds)[1]
    return believed


def read_chain(
    claims: Mapping[str, str], roots: Set[str], problems: list[str] | None = None
) -> tuple[Inventoried, ...]:
    """Every change that leads from or to one of `roots`, PEM texts, each following from the one before it; the first of what was claimed so.

    Whoever can write to the registry can begin a chain, of keys of their own: what is of no chain of ours is passed over, and said in `problems`.
    """
    passed_over: dict[int, str] = {}
    begun = _chains(claims, passed_over)
    ours = next((c for c in begun if any(roots & {each.change.ended, each.change.key} for each in c)), [])
    stray = (each.number for chain in begun if chain is not ours for each in chain)
    passed_over |= dict.fromkeys(stray, "no key that is trusted here leads to it")
    for number, why_not in sorted(passed_over.items()):
        (problems if problems is not None else []).append(
            f"change {number} of keys is not believed: {why_not}"
        )
    return tuple(ours)


def _chains(claims: Mapping[str, str], passed_over: dict[int, str]) -> list[list[Inventoried]]:
    """By whomever they were begun, in that order; into `passed_over` goes what is of none, and why."""
    begun: list[list[Inventoried]] = []
    ends: dict[str, list[Inventoried]] = {}
    seen = set[str]()
    for number in numbers(claims):
        try:
            signed = SignedChange.model_validate_json(claims[f"{_CHANGE}{number}"])
        except ValidationError:
            passed_over[number] = "it cannot be read"
            continue
        change, chain = signed.change, ends.get(signed.change.previous, [])
        problem = "it is there already" if change.digest in seen else _problem(signed, chain)
        holds = None if problem else _inventory(claims, change.holds)
        if holds is None:
            passed_over[number] = problem or "its inventory is damaged"
            continue
        begun += [] if chain else [chain]
        chain.append(Inventoried(number=number, change=change, holds=holds, signatures=signed.signatures))
        ends.pop(change.previous, None)
        ends[change.digest] = chain
        seen.add(change.digest)
    return begun


def numbers(claims: Mapping[str, str]) -> list[int]:
    """Those under which something was claimed as a change."""
    return sorted(int(match[1]) for name in claims if (match := _NUMBERED.fullmatch(name)))


def current(chain: Sequence[Inventoried]) -> str | None:
    """The PEM text of the key in force by a chain."""
    return chain[-1].change.key if chain else None


def parts(digests: Iterable[str]) -> tuple[str, dict[str, str]]:
    """An inventory's digest, and the claims that hold it."""
    text = "".join(sorted(set(digests)))
    name = digest_of(text)
    cut = [text[start : start + _PART_LENGTH] for start in range(0, len(text), _PART_LENGTH)]
    return name, {f"{_PART}{name[:16]}-{number}": each for number, each in enumerate(cut)}


def claimed(change: Change, number: int, *keys: PrivateKey) -> tuple[str, str]:
    """The name that a change is claimed under, and its text, signed."""
    signatures = tuple(sign(change.canonical, key) for key in keys)
    return f"{_CHANGE}{number}", SignedChange(change=change, signatures=signatures).model_dump_json()


def _problem(signed: SignedChange, chain: Sequence[Inventoried]) -> str | None:
    """Why a change does not follow from those before it."""
    change, last = signed.change, chain[-1].change if chain else None
    if (change.sequence, change.previous) != (len(chain) + 1, last.digest if last else FIRST):
        return "it does not follow from the one before it"
    ended, in_force = {each.change.ended for each in chain}, last.key if last else change.ended
    why_not = _no_revocation if change.action == "revoke" else _no_hand_over
    return why_not(change, ended, in_force) or _unsigned(signed)


def _no_revocation(change: Change, ended: Set[str], in_force: str) -> str | None:
    if change.key != in_force:
        return "it is not signed by the key in force"
    return None if change.ended in ended else "it revokes a key that never ended, or never was"


def _no_hand_over(change: Change, ended: Set[str], in_force: str) -> str | None:
    if change.ended != in_force:
        return "it hands over from a key that was not in force"
    return "it hands over to a key that had ended" if change.key in ended | {in_force} else None


def _unsigned(signed: SignedChange) -> str | None:
    change = signed.change
    signers = (change.ended, change.key) if change.action == "rotate" else (change.key,)
    try:
        keys = [load_public(pem.encode(), "its key") for pem in signers]
    except UserError as error:
        return str(error).rstrip(".")
    if len(signed.signatures) == len(keys) and all(
        verifies(key, change.canonical, signature)
        for key, signature in zip(keys, signed.signatures, strict=True)
    ):
        return None
    return "it is not signed by the keys that it names"


def _inventory(claims: Mapping[str, str], name: str) -> frozenset[str] | None:
    """None where it is not what the change says; parts that somebody else put behind it do no harm."""
    digest, listed = hashlib.sha256(), list[str]()
    while digest.hexdigest() != name:
        if (part := claims.get(f"{_PART}{name[:16]}-{len(listed)}")) is None:
            return None
        digest.update(part.encode())
        listed.append(part)
    return frozenset(re.findall(".{64}", "".join(listed)))


def digest_of(text: str) -> str:
    """What an inventory lists of a signed text."""
    return hashlib.sha256(text.encode()).hexdigest()
