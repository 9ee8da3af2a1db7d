"""Which keys are trusted, and what of each: a chain of signed hand-overs and revocations that leads from and to the key one was given.

A signature has no date that its maker could not have chosen. So a key that ends leaves an inventory: the digests of what it had signed,
listed by whoever ended it. What it signs later is on no list. A hand-over is signed by both keys, each of which vouches for the other's side of
the chain: whoever trusts one key of it, an old or a new one, can follow it. The server imports this: nothing heavy here.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from tasks.errors import StepError
from tasks.system.ecdsa import load_public, verifies
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen
from tasks.system.key_chain import (
    CHANGE,
    Change,
    Inventoried,
    SignedChange,
    digest_of,
    numbers,
    parts,
    read_chain,
)
from tasks.system.signers import fingerprint, public_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec


class KeyringError(StepError):
    """A record of keys that is not what it was: none of it is believed, and what was known before stays."""


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
        yield SignedChange.model_validate_json(claims[f"{CHANGE}{number}"]).change


def _believed(claims: Mapping[str, str], roots: Set[str]) -> dict[str, str]:
    """The claims that a chain is made of, and nothing that somebody put beside them."""
    believed = dict[str, str]()
    for each in read_chain(claims, roots):
        name = f"{CHANGE}{each.number}"
        believed |= {name: claims[name]} | parts(each.holds)[1]
    return believed
