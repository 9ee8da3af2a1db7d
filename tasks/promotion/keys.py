"""Which keys are trusted; one handed over to the next, and one revoked: a claim in the registry each, of which all ledgers there take note.

Whoever ends a key lists what it had signed until then (`tasks.system.keyring`). The claim is the decision: a process killed before it has
changed nothing, and one killed after it has changed all, for the files here follow from it (`tasks.registry.key_changes`).
"""

import datetime
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from tasks.errors import UserError
from tasks.promotion.champion import model_lock
from tasks.promotion.deciders import check_may_decide, decided_by
from tasks.promotion.inventory import decided, older, signed
from tasks.promotion.ledger import StaleError
from tasks.registry.claims import KEYS
from tasks.registry.key_changes import NEXT, RETIRED, refresh_keys
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system import key_chain as chains
from tasks.system import keyring as keyrings
from tasks.system import signers, signing
from tasks.system.frozen import Frozen
from tasks.system.key_chain import FIRST, Change, Inventoried
from tasks.system.keyring import Keyring, KeyringError
from tasks.system.signers import PrivateKey, fingerprint, public_pem

_LEAST_NAME = 8
"""Digits of a fingerprint that name a key."""

_LONGEST_REASON, _LONGEST_CLAIM = 2000, 6000


class TrustedKey(Frozen):
    """One key. `holds`: of how many signatures it is known that they were made while it counted; None while it signs."""

    fingerprint: str
    standing: str
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    revoked: datetime.datetime | None = None
    why: str = ""
    holds: int | None = None
    signs_here: bool = False


class TrustedKeys(Frozen):
    """Every key that the one of this machine leads to, oldest first; and how far a training here is from the private one (SLSA's levels)."""

    keys: tuple[TrustedKey, ...]
    level: int
    why: str
    problems: tuple[str, ...] = ()


class KeyChange(Frozen):
    """What was decided: `ended` and the key in force after it, by fingerprint; `lost`: what counted and does no longer."""

    action: str
    ended: str
    in_force: str
    since: datetime.datetime | None = None
    holds: int
    who: str
    why: str
    lost: tuple[str, ...] = ()
    next: str = ""


def trusted_keys(settings: Settings) -> TrustedKeys:
    """As this machine sees it, after asking the registry. Raises UserError where there is no public key to begin with."""
    registry = Registry(settings)
    problems = [*refresh_keys(registry)]
    chains.read_chain(registry.claims(KEYS) or {}, signing.keyring().pems, problems)
    here = None
    with suppress(UserError):
        key = signing.signing_key()
        here = fingerprint(public_pem(key)) if key is not None else None
    level = signing.level()
    return TrustedKeys(
        keys=tuple(
            TrustedKey(
                fingerprint=name,
                standing="revoked" if state.revoked else "ended" if state.holds is not None else "in force",
                since=state.since,
                until=state.until,
                revoked=state.revoked,
                why=state.why,
                holds=None if state.holds is None else len(state.holds),
                signs_here=name == here,
            )
            for name, state in signing.keyring().states.items()
        ),
        level=level.number,
        why=level.why,
        problems=tuple(problems),
    )


def rotate(settings: Settings, *, why: str, who: str | None = None, to: str | None = None) -> KeyChange:
    """Hand over from the key in force to a new one, or to `to` (a file or a `pkcs11:` address), for every model of the registry.

    Raises UserError where the private half of the key in force is not here, and for a key that ended; StaleError when another came first.
    """
    with _alone(settings, who) as registry:
        claims, chain = _chain(registry)
        in_force = chains.current(chain) or _first_key()
        old = _private_half(in_force)
        new = _successor(in_force, to)
        pem = public_pem(new)
        if pem == in_force or any(each.change.ended == pem for each in chain):
            state = "is in force already" if pem == in_force else "had ended, and does not come back"
            raise UserError(f"--to {to}: the key {fingerprint(pem)[:12]} {state}: name another.")
        keys = Keyring(keyrings.states(in_force, chain))
        listed = frozenset[str]().union(*(each.holds for each in chain))
        holds = {*signed(registry, keys)} | ({*decided(registry, keys)} - listed)
        change = _change(chain, "rotate", pem, in_force, why, who, settings, holds)
        _claim(registry, claims, chain, change, holds, old, new)
        follow = "" if to is None else f"Where decisions are signed, set {signers.PRIVATE} to the new key."
        return _said(change, holds, next=follow)


def revoke(
    settings: Settings, name: str, *, since: str | None, why: str, who: str | None = None
) -> KeyChange:
    """Let nothing count that an ended key signed from `since` on (a day or a moment, UTC unless it says), by the order of the ledgers.

    Raises UserError for a fingerprint that nobody has, the key in force, and a date that is none or to come.
    """
    moment = _moment(since)
    with _alone(settings, who) as registry:
        claims, chain = _chain(registry)
        state = _named(Keyring(keyrings.states(chains.current(chain) or _first_key(), chain)), name)
        if state.holds is None:
            raise UserError(
                f"The key {state.fingerprint[:12]} is in force, and could not sign its own end: `slipway keys rotate --reason TEXT` first."
            )
        in_force = str(chains.current(chain))
        key = _private_half(in_force)
        kept, lost = set[str](), list[str]()
        for model in registry.models():
            held, gone = older(registry, model, moment, state)
            kept |= held
            lost += gone
        kept &= state.holds
        change = _change(chain, "revoke", in_force, state.pem, why, who, settings, kept, moment)
        _claim(registry, claims, chain, change, kept, key)
        return _said(change, kept, lost=tuple(lost))


@contextmanager
def _alone(settings: Settings, who: str | None) -> Iterator[Registry]:
    """No decision on this machine comes between what is listed and what is claimed."""
    registry = Registry(settings)
    with ExitStack() as held:
        held.enter_context(model_lock(settings, KEYS))
        for model in sorted(registry.models()):
            check_may_decide(settings, model, who)
            held.enter_context(model_lock(settings, model))
        if problems := refresh_keys(registry):
            raise KeyringError(f"Nothing is changed: {problems[0]}.")
        yield registry


def _chain(registry: Registry) -> tuple[dict[str, str] | None, tuple[Inventoried, ...]]:
    claims = registry.claims(KEYS)
    return claims, chains.read_chain(claims or {}, signing.keyring().pems)


def _first_key() -> str:
    """The key in force at a registry that has seen no change: the first of those that another handed over, else the one here."""
    return next(iter(signing.keyring().states.values())).pem


def _private_half(pem: str) -> PrivateKey:
    """Of the key in force: as given, of this home, or handed over from here before."""
    name, folder = fingerprint(pem), signing.keys_folder()
    given = [signing.given()] if signing.given() is not None else []
    files = [folder / "private.pem", folder / RETIRED / f"{name}.pem"]
    for key in (*given, *(signers.load(str(path)) for path in files if path.is_file())):
        if key is not None and public_pem(key) == pem:
            if isinstance(key, signers.Service):
                break
            return key
    raise UserError(
        f"The private half of the key in force, {name[:12]}, is not here, and a signing service does not give its away: "
        f"say this where the key is, or set {signers.PRIVATE} to it."
    )


def _successor(in_force: str, to: str | None) -> PrivateKey:
    folder = signing.keys_folder()
    if to is not None:
        return signers.load(to, "--to")
    if signing.given() is not None:
        raise UserError(
            f"{signers.PRIVATE} names the key that signs here: name the one to hand over to with --to FILE."
        )
    own = signers.load(str(folder / "private.pem"))
    if public_pem(own) != in_force:  # handed over at another registry
        return own
    if not (folder / NEXT).exists():
        signing.create_private_key(folder / NEXT)
    return signers.load(str(folder / NEXT))


def _change(
    chain: tuple[Inventoried, ...],
    action: str,
    key: str,
    ended: str,
    why: str,
    who: str | None,
    settings: Settings,
    holds: set[str],
    since: datetime.datetime | None = None,
) -> Change:
    if not why.strip():
        raise UserError("A reason is needed, for whoever reads the record of keys: --reason TEXT.")
    if len(why) > _LONGEST_REASON:
        raise UserError(
            f"The reason has {len(why):,} characters; {_LONGEST_REASON:,} are kept. Link to the rest."
        )
    decider = decided_by(settings, who)
    return Change(
        sequence=len(chain) + 1,
        at=datetime.datetime.now(datetime.UTC),
        action=action,
        key=key,
        ended=ended,
        since=since,
        who=f"{decider.who} (claimed)" if decider.claimed else decider.who,
        why=why.strip(),
        holds=chains.parts(holds)[0],
        previous=chain[-1].change.digest if chain else FIRST,
    )


def _claim(
    registry: Registry,
    claims: Mapping[str, str] | None,
    chain: tuple[Inventoried, ...],
    change: Change,
    holds: set[str],
    *keys: PrivateKey,
) -> None:
    """The inventory first, which says nothing until a change names it."""
    # Behind the last change, where nobody else wrote: a number that is left out would be free for whoever has a former key.
    taken, number = {*chains.numbers(claims or {})}, chain[-1].number + 1 if chain else 1
    while number in taken:
        number += 1
    name, text = chains.claimed(change, number, *keys)
    if len(text) > _LONGEST_CLAIM:
        raise UserError(
            f"The change takes {len(text):,} characters and {_LONGEST_CLAIM:,} are kept: shorten --reason."
        )
    if claims is None:
        registry.begin_claims(KEYS, {"begun": KEYS})
    for part, content in chains.parts(holds)[1].items():
        if registry.claim(KEYS, part, content) != content:
            raise StaleError("Somebody wrote over the inventory; nothing was changed: try again.")
    if registry.claim(KEYS, name, text) != text:
        raise StaleError("Another change of keys came first; nothing was changed.")
    if problems := refresh_keys(registry):
        raise KeyringError(f"The keys are changed, and this home does not take it over: {problems[0]}.")


def _said(change: Change, holds: set[str], **more: object) -> KeyChange:
    return KeyChange.model_validate(
        {
            "action": change.action,
            "ended": fingerprint(change.ended),
            "in_force": fingerprint(change.key),
            "since": change.since,
            "holds": len(holds),
            "who": change.who,
            "why": change.why,
            **more,
        }
    )


def _named(keys: Keyring, name: str) -> keyrings.KeyState:
    matching = [state for known, state in keys.states.items() if known.startswith(name.lower())]
    if len(name) < _LEAST_NAME or len(matching) != 1:
        raise UserError(
            f"{name!r} is the fingerprint of no key here: `slipway keys` shows them, and the first {_LEAST_NAME} digits are enough."
        )
    return matching[0]


def _moment(text: str | None) -> datetime.datetime:
    if text is None:
        raise UserError(
            "Since when is the key not its owner's alone? Say it with --from DATE (2026-05-03, or 2026-05-03T14:00)."
        )
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"--from {text!r} is no date: write a day (2026-05-03) or a moment (2026-05-03T14:00)."
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    if moment > datetime.datetime.now(datetime.UTC):
        raise UserError(
            f"--from {text} is still to come: a key is revoked from a day on that has been, or from today on."
        )
    return moment
