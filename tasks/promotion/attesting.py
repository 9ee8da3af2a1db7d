"""A version of the registry → a folder that a stranger checks: its files as they are checked here, its permit, and the decision behind that."""

from pathlib import Path

from tasks.attestation.bundle import ATTESTATIONS
from tasks.attestation.folder import Attested, write_folder
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.ledger import LedgerError, read_ledger
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.permit import PERMIT_TAG, Permit, PermitError, read_permit
from tasks.records import Version
from tasks.registry.claims import KEYS
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.files import sha256_of
from tasks.system.signing import keyring


def attest(settings: Settings, reference: str, out: Path) -> Attested:
    """Write `out` for what MODEL, MODEL@ALIAS or MODEL/VERSION names.

    Raises UserError for a version that is not there and a folder that is, EvidenceError, PermitError or LedgerError for what does not hold.
    """
    registry = Registry(settings)
    version = find_version(registry, reference)
    text, permit, entry = _decided(registry, version)  # which learns of changes of keys, too
    with downloaded(registry, version) as folder:
        evidence = check_version(folder, version)
        if permit is not None:
            _check_statements(permit, folder)
        decision = entry.canonical if entry is not None else None
        changes = registry.claims(KEYS) or {}
        return write_folder(out, folder, evidence, version.version, text, decision, changes)


def _check_statements(permit: Permit, folder: Path) -> None:
    """Inventories of keys list evidence and permits: whoever has a former key could sign other statements beside the same evidence."""
    path, rests_on = folder / ATTESTATIONS, permit.statements_sha256
    if rests_on and not (path.is_file() and sha256_of(path) == rests_on):
        raise PermitError(
            f"{permit.model} version {permit.version}: its permit rests on other statements than are beside it: the version's files were exchanged "
            "since it was let through, or its tags were."
        )


def _decided(registry: Registry, version: Version) -> tuple[str | None, Permit | None, LedgerEntry | None]:
    """The version's permit as it is signed and as it reads, also one that was withdrawn, and the entry that it names; of one from before permits named any, the last that let it serve."""
    ledger = read_ledger(registry, version.model)
    if ledger.problems:
        raise LedgerError(
            f"Nothing is attested: {ledger.problems[0]}. `slipway history {version.model}` says all that is wrong with the ledger."
        )
    text = registry.tags(version).get(PERMIT_TAG)
    if text is None:
        return None, None, None
    permit = read_permit(text, keyring().fits)
    about = (version.model, version.version, version.run_id, version.sha256)
    permit.check_subject(*about)
    if not permit.granted:
        return text, permit, None
    permit.check(*about)
    moves = [entry for entry in ledger.entries if entry.moved and entry.to_version == version.version]
    if not permit.entry_sha256:
        return text, permit, moves[-1] if moves else None
    named = next((entry for entry in moves if entry.digest == permit.entry_sha256), None)
    if named is None:
        raise PermitError(
            f"{version.model} version {version.version}: its permit is of a decision that the ledger does not have: promote it again."
        )
    return text, permit, named
