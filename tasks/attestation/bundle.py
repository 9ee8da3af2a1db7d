"""Signed statements as one file: a line of JSON each, in the form of a Sigstore bundle that names a public key. What is read is checked."""

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.attestation.results import RESULTS
from tasks.attestation.statements import PROVENANCE, TESTS, Statement, state, subjects
from tasks.proof.evidence import ATTESTATIONS as ATTESTATIONS
from tasks.proof.evidence import EVIDENCE, Evidence
from tasks.proof.permit import SUMMARY, is_ahead
from tasks.system.envelope import EnvelopeError, digest_of, open_envelope, sign_statement
from tasks.system.files import sha256_of, write_atomically
from tasks.system.key_chain import digest_of as digest_of_text
from tasks.system.keyring import Keyring
from tasks.system.signers import PrivateKey, fingerprint, load, public_pem
from tasks.system.signing import EvidenceError, keyring, signer

PERMIT = "permit"
"""The name of the statement that lets a version serve: it is not among those that are made with it."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def write_statements(folder: Path, evidence: Evidence) -> str:
    """Sign what `evidence`, which is to be sealed into the model `folder`, has to say; the file's SHA-256."""
    said = state(evidence, hashlib.sha256(evidence.as_written).hexdigest())
    write_atomically(folder / ATTESTATIONS, signed_lines(said, signer()))
    return sha256_of(folder / ATTESTATIONS)


def signed_lines(said: Mapping[str, Statement], key: Path | PrivateKey) -> bytes:
    own = load(str(key)) if isinstance(key, Path) else key
    hint = fingerprint(public_pem(own))
    return b"".join(line_of(sign_statement(each, own), hint) for each in said.values())


def line_of(envelope: Mapping[str, Any], hint: str) -> bytes:
    """An envelope as a line of the file; the `hint` says which key it is, as model-signing's own does."""
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    line = {"mediaType": _MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


class Signers:
    """Whose signatures count beside a version's evidence; who made each that was found to.

    Inventories list evidence and no statements, and the folder's own signature was held against them: beside it, a key that was
    handed over since may sign. One that was revoked may where that evidence still counts as its own.
    """

    def __init__(self, keys: Keyring, evidence_sha256: str) -> None:
        self._keys, self._evidence = keys, evidence_sha256
        self.signed: list[tuple[str, str]] = []
        """Fingerprint of the key, and digest of what it signed."""

    def fits(self, text: str, signature: str) -> bool:
        state, digest = self._keys.signer(text, signature), digest_of_text(text)
        if state is None or (state.revoked and state.refusal(digest) and state.refusal(self._evidence)):
            return False
        self.signed.append((state.fingerprint, digest))
        return True


def check_statements(folder: Path, evidence: Evidence) -> tuple[str, ...]:
    """The names of the statements beside a version's `evidence`, if all that there should be hold together; none where it was made without.

    Raises EvidenceError for one that is not signed, missing, about other bytes, or from a time that is yet to come.
    """
    path = folder / ATTESTATIONS
    if not path.exists():
        return ()
    said = read_statements(
        path.read_bytes(), Signers(keyring(), sha256_of(folder / EVIDENCE)).fits, folder.name
    )
    try:
        _check(folder, evidence, said)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _refused(folder, "is signed, and says not what statements of Slipway's say") from error
    return tuple(said)


def stated_level(content: bytes) -> int:
    """The lowest of SLSA's build levels that provenance in a file of statements names. Raises EvidenceError for what is not signed by a key that may."""
    said = read_statements(content, Signers(keyring(), "").fits, "the version")
    levels = [
        int(each["predicate"]["buildDefinition"]["internalParameters"]["slsaBuildLevel"])
        for each in said.values()
        if each["predicateType"] == PROVENANCE
    ]
    return min(levels, default=1)


def _check(folder: Path, evidence: Evidence, said: Mapping[str, Statement]) -> None:
    expected = subjects(evidence)
    for name in (*expected, *said):
        if name not in said:
            raise _refused(folder, f"has no statement about {name!r}")
        if name not in expected:
            raise _refused(folder, f"has a statement about {name!r}, which is no step of this version")
    before: dict[str, str] = {}
    for name, (what, sha256) in expected.items():
        _check_subject(folder, name, said[name], sha256, what)
        if said[name]["predicateType"] == PROVENANCE:
            _check_time(folder, name, said[name])
            if _chained(said[name]) != before:
                raise _refused(folder, f"says that {name!r} followed others than are there")
        before[name] = digest_of(said[name])
    if _digests(said["decide"]["predicate"]["runDetails"]["byproducts"])[EVIDENCE] != sha256_of(
        folder / EVIDENCE
    ):
        raise _refused(folder, f"decides by another {EVIDENCE} than is there")


def read_statements(content: bytes, fits: Callable[[str, str], bool], where: str) -> dict[str, Statement]:
    """What is signed in a file of statements, by name. Raises EvidenceError naming the line that is not."""
    said: dict[str, Statement] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            each = open_envelope(json.loads(line)["dsseEnvelope"], fits)
            name = _name(each)
        except (EnvelopeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = (
                str(error)
                if isinstance(error, EnvelopeError)
                else "damaged: it is no statement that can be read"
            )
            raise EvidenceError(
                f"{where}: line {number} of {ATTESTATIONS} is {why}.", ATTESTATIONS
            ) from error
        if name in said:
            raise EvidenceError(f"{where}: {ATTESTATIONS} has two statements about {name!r}.", ATTESTATIONS)
        said[name] = each
    return said


def _name(said: Statement) -> str:
    """The step that a provenance is of, from its build type; of any other kind, the kind."""
    if said["predicateType"] == PROVENANCE:
        return str(said["predicate"]["buildDefinition"]["buildType"]).rpartition("#")[2]
    return {RESULTS: TESTS, SUMMARY: PERMIT}.get(said["predicateType"], str(said["predicateType"]))


def _check_subject(folder: Path, name: str, said: Statement, sha256: str, what: str) -> None:
    about = [str(each["digest"]["sha256"]) for each in said["subject"]]
    if about != [sha256]:
        raise _refused(
            folder, f"is about other bytes: {name!r} of {about[0][:16]}…, where the {what} is {sha256[:16]}…"
        )


def _check_time(folder: Path, name: str, said: Statement) -> None:
    ended = said["predicate"]["runDetails"]["metadata"].get("finishedOn")
    if ended is not None and is_ahead(datetime.datetime.fromisoformat(ended)):
        raise _refused(
            folder, f"says that {name!r} ended at {ended}, which is yet to come by this machine's clock"
        )


def _chained(said: Statement) -> dict[str, str]:
    """The statements before, by name, that one names by digest."""
    named = _digests(said["predicate"]["buildDefinition"]["resolvedDependencies"])
    return {
        name.removeprefix("statement "): digest
        for name, digest in named.items()
        if name.startswith("statement ")
    }


def _digests(descriptors: list[dict[str, Any]]) -> dict[str, str]:
    return {each["name"]: each.get("digest", {}).get("sha256", "") for each in descriptors}


def _refused(folder: Path, what: str) -> EvidenceError:
    return EvidenceError(f"{folder.name}: {ATTESTATIONS} {what}.", ATTESTATIONS)
