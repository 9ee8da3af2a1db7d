"""What a key has signed in a registry, by digest: all of it, for whoever hands over; and what the ledgers show to be older than a moment."""

import datetime
from collections.abc import Iterator
from contextlib import suppress

from tasks.errors import StepError
from tasks.promotion.entries import Ledger, times
from tasks.promotion.ledger import LedgerError, read_ledger
from tasks.proof.evidence import EVIDENCE
from tasks.proof.permit import PERMIT_TAG, Permit, PermitError, read_permit
from tasks.records import Version
from tasks.registry.http import is_missing
from tasks.registry.registry import Registry
from tasks.registry.status_tags import read_statuses
from tasks.registry.tags import EVIDENCE_TAG
from tasks.rollout.record import ROLLOUT_TAG, RecordError, read_record
from tasks.system.key_chain import digest_of
from tasks.system.keyring import Keyring, KeyState
from tasks.system.scratch import scratch
from tasks.system.signing import SIGNATURE, signed_digest


def decided(registry: Registry, keys: Keyring) -> Iterator[str]:
    """Digests of every entry of every ledger. Raises LedgerError for one that is not whole."""
    for model in registry.models():
        ledger = read_ledger(registry, model, keys=keys)
        if ledger.problems:
            raise LedgerError(
                f"No key is handed over while the ledger of {model} is not whole: {ledger.problems[0]}. `slipway history {model}` says all of it."
            )
        yield from (entry.digest for entry in ledger.entries)


def signed(registry: Registry, keys: Keyring) -> Iterator[str]:
    """Digests of all else in the registry whose signature counts now."""
    for model, tags in registry.models().items():
        noted = _Noted(keys)
        with suppress(RecordError):
            read_record(tags.get(ROLLOUT_TAG, ""), noted.fits)
        read_statuses(model, tags, noted.fits)
        for version, on_version in registry.versions(model):
            permit = None
            with suppress(PermitError):
                permit = read_permit(on_version.get(PERMIT_TAG, ""), noted.fits)
            if keys.lists(tagged := on_version.get(EVIDENCE_TAG, "")):
                yield tagged
            if evidence := _evidence(registry, version, permit, keys):
                yield evidence
        yield from noted.digests


def _evidence(registry: Registry, version: Version, permit: Permit | None, keys: Keyring) -> str | None:
    """The digest of a version's evidence as it is signed, for anybody may write a tag; where there is none of ours, as its permit names it."""
    digest = None
    try:
        with scratch("evidence") as temporary:
            digest = signed_digest(registry.download(version, temporary, SIGNATURE), EVIDENCE, keys)
    except StepError as error:
        if not is_missing(error):
            raise StepError(
                f"No key is handed over while {SIGNATURE} of {version.model} version {version.version} is not to be had, for what it signs would count "
                f"no more ({str(error).rstrip('.')}): try again."
            ) from error
    return digest or (permit.evidence_sha256 if permit is not None else None)


class _Noted:
    """Keeps the digest of each text that is found signed."""

    def __init__(self, keys: Keyring) -> None:
        self.keys = keys
        self.digests: list[str] = []

    def fits(self, text: str, signature: str) -> bool:
        counts = self.keys.fits(text, signature)
        if counts:
            self.digests.append(digest_of(text))
        return counts


def older(
    registry: Registry, model: str, moment: datetime.datetime, state: KeyState
) -> tuple[set[str], list[str]]:
    """What the ledger shows to be older than a moment, by digest; and in words what counted and does not any more."""
    ledger = read_ledger(registry, model, whole=True)
    # By the chain's order times never go back, so that these are its first entries.
    count = sum(at < moment for at in times(ledger.entries))
    before = ledger.model_copy(update={"entries": ledger.entries[:count]})
    held = {entry.digest for entry in before.entries} | {entry.evidence or "" for entry in before.entries}
    gone = [str(entry) for entry in ledger.entries[count:] if entry.digest in state.holds_or_none]
    for version, tags in registry.versions(model):
        evidence, permits = tags.get(EVIDENCE_TAG, ""), _Noted(Keyring({state.pem: state}))
        if evidence in state.holds_or_none and evidence not in held:
            gone.append(
                f"the evidence of {model} version {version.version}, which no decision of before names"
            )
        with suppress(PermitError):
            permit = read_permit(tags.get(PERMIT_TAG, ""), permits.fits)
            if permit.granted and not (evidence in held and _let_through(before, permit)):
                gone.append(f"the permit of {model} version {version.version}")
            else:
                held.update(permits.digests)
    return held, gone


def _let_through(before: Ledger, permit: Permit) -> bool:
    return before.promoted(permit.version) or any(
        entry.action in ("start", "repair", "accept") and entry.to_version == permit.version
        for entry in before.entries
    )
