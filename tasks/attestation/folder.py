"""A folder that a stranger checks with stock tools: the version's files, what is said of it, the public key, and a page that says how.

What a former key signed comes with that key, and with the hand-overs that lead from it to the one in force. Every file is signed (evidence.sig), and SHA256SUMS, which follows from all the others, names whatever byte was changed since.
"""

import datetime
import json
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

from tasks.attestation.bill import BILL, bill_of_materials
from tasks.attestation.bundle import (
    ATTESTATIONS,
    Signers,
    line_of,
    read_statements,
    signed_lines,
)
from tasks.attestation.card import CARD, hub_card
from tasks.attestation.former_keys import former_keys
from tasks.attestation.statements import Statement, missing, state
from tasks.errors import UserError
from tasks.proof.evidence import EVIDENCE, MODEL, Evidence
from tasks.system.ecdsa import load_public
from tasks.system.envelope import open_envelope
from tasks.system.files import own_folder, sha256_of, sync_folder, why_not_written, write_atomically
from tasks.system.frozen import Frozen
from tasks.system.signers import PrivateKey, fingerprint, public_pem
from tasks.system.signing import ADDED, SIGNATURE, check_folder, keyring, sign_folder, signed_by, signing_key

KEY, SUMS, PAGE, ENTRY, VERSION = "key.pem", "SHA256SUMS", "README.md", "ledger-entry.json", "model"

_CURVE = "secp256r1"
"""Whose signatures securesystemslib and cosign check with SHA-256, as these are made."""


class Attested(Frozen):
    """What was written: where, the fingerprint of the key that signed it, and what the version's evidence has not."""

    model: str
    version: int
    folder: Path
    key_sha256: str
    statements: tuple[str, ...]
    permitted: bool
    missing: tuple[str, ...]


def write_folder(
    out: Path,
    proved: Path,
    evidence: Evidence,
    version: int,
    permit: str | None,
    entry: str | None,
    changes: Mapping[str, str] | None = None,
) -> Attested:
    """Write and sign `out` for a version whose files, `proved`, were checked; `permit`: its envelope, `entry`: its ledger entry as JSON;
    `changes`: what its registry has of changes of keys.

    A version that was made without statements gets them now, from its evidence, and they say so. Nothing is there before all of it
    is. Raises UserError for a folder that has something in it, and where the private key is not.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} has something in it: name a folder that is not there yet.")
    key = signing_key()
    if key is None:
        raise UserError(
            "The folder is signed, and this machine has the public key alone: write it where the private one is, or set SLIPWAY_PRIVATE_KEY."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        making = own_folder(out.parent, out.name)
        try:
            folder = making / out.name
            attested = _fill(folder, proved, evidence, version, permit, entry, key, changes or {})
            sign_folder(folder, key)
            check_folder(folder, keyring().states[attested.key_sha256])
            _finish(folder, out)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        needed = sum(path.stat().st_size for path in proved.rglob("*") if path.is_file())
        there = next(folder for folder in out.parents if folder.exists())
        raise UserError(why_not_written(f"What is said of {evidence.model}", there, needed, error)) from error
    return attested.model_copy(update={"folder": out})


def _finish(folder: Path, out: Path) -> None:
    """Give it its sums and its name; whoever it is handed to reads it."""
    write_atomically(folder / SUMS, _sums(folder))
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if out.exists():
        out.rmdir()
    folder.rename(out)
    sync_folder(out.parent)


def _fill(
    folder: Path,
    proved: Path,
    evidence: Evidence,
    version: int,
    permit: str | None,
    entry: str | None,
    key: PrivateKey,
    changes: Mapping[str, str],
) -> Attested:
    shutil.copytree(proved, folder / VERSION, ignore=shutil.ignore_patterns(ADDED))
    pem, evidence_sha256 = public_pem(key), sha256_of(proved / EVIDENCE)
    lines, lacking = _statements(proved, evidence, key)
    sealed_by = signed_by(proved, keyring())
    keys, listed = Signers(keyring(), evidence_sha256), {(sealed_by, evidence_sha256)}
    if permit is not None:
        open_envelope(json.loads(permit), keys.fits)
        listed |= {*keys.signed}
        lines += line_of(json.loads(permit), keys.signed[0][0])
    said = read_statements(lines, keys.fits, folder.name)
    by = dict(
        zip((VERSION, *said), (sealed_by, *(name for name, _ in keys.signed[-len(said) :])), strict=True)
    )
    former = former_keys(pem, listed, {*by.values()}, changes, f"{evidence.model} version {version}")
    for each in (pem, *(former.files[name].decode() for name in former.names.values())):
        _check_curve(each)
    key_files = {what: former.names.get(name, KEY) for what, name in by.items()}
    made = {
        ATTESTATIONS: lines,
        KEY: pem.encode(),
        BILL: bill_of_materials(evidence, version),
        CARD: hub_card(evidence, version).encode(),
        PAGE: _page(evidence, version, said, lacking, entry, key_files).encode(),
    } | ({ENTRY: entry.encode()} if entry is not None else {})
    for name, content in (made | former.files).items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomically(folder / name, content)
    return Attested(
        model=evidence.model,
        version=version,
        folder=folder,
        key_sha256=fingerprint(pem),
        statements=tuple(said),
        permitted=permit is not None,
        missing=lacking,
    )


def _check_curve(pem: str) -> None:
    if (curve := load_public(pem.encode(), "The key").curve.name) != _CURVE:
        raise UserError(
            f"The key {fingerprint(pem)[:12]} is a key of the curve {curve}, and stock tools check these statements with one of {_CURVE}, "
            "as Slipway makes them: sign with such a key."
        )


def _statements(proved: Path, evidence: Evidence, key: PrivateKey) -> tuple[bytes, tuple[str, ...]]:
    """The version's own, or those that its evidence allows now; and what they do not say."""
    path, lacking = proved / ATTESTATIONS, missing(evidence)
    if path.exists():
        return path.read_bytes(), lacking
    said = state(evidence, sha256_of(proved / EVIDENCE), datetime.datetime.now(datetime.UTC))
    return signed_lines(said, key), ("statements from the time when it was made", *lacking)


def _page(
    evidence: Evidence,
    version: int,
    said: dict[str, Statement],
    lacking: tuple[str, ...],
    entry: str | None,
    key_files: Mapping[str, str],
) -> str:
    """`key_files`: the file with the key of the version and of each statement."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tasks.attestation", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return environment.get_template("page.md.j2").render(
        model=evidence.model,
        version=version,
        today=datetime.datetime.now(datetime.UTC).date(),
        slipway=installed_version("slipway"),
        statements=[*said],
        missing=lacking,
        entry=entry is not None,
        onnx=MODEL,
        signature=SIGNATURE,
        key_files=key_files,
        former=sorted({*key_files.values()} - {KEY}),
        reach=said["decide"]["predicate"]["buildDefinition"]["internalParameters"],
    )


def _sums(folder: Path) -> bytes:
    """As `sha256sum` says them of all files, sorted by the bytes of their names."""
    return b"".join(f"{sha256}  ./{name}\n".encode() for name, sha256 in sorted(_digests(folder)))


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), sha256_of(path)
