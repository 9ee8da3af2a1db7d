"""The chain of changes of keys as a registry holds it: signed hand-overs and revocations, each following from the one before, and their inventories."""

import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal

from pydantic import Field, ValidationError

from tasks.errors import UserError
from tasks.system.ecdsa import load_public, sign, verifies
from tasks.system.frozen import Frozen
from tasks.system.signers import PrivateKey

FIRST = "0" * 64

CHANGE, _PART = "change-", "holds-"

_NUMBERED = re.compile(rf"{CHANGE}([1-9]\d{{0,8}})")

_PART_LENGTH = 90 * 64
"""Characters of what MLflow keeps of a parameter: digests beside each other."""


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


class Inventoried(Frozen):
    """A change and the inventory that it names; `number`: under which it was claimed."""

    number: int = Field(0, exclude=True)
    change: Change
    holds: frozenset[str]
    signatures: tuple[str, ...] = ()


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
            signed = SignedChange.model_validate_json(claims[f"{CHANGE}{number}"])
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
    return f"{CHANGE}{number}", SignedChange(change=change, signatures=signatures).model_dump_json()


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
