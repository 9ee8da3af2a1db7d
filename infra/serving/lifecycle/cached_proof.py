"""Whether a folder that was inspected before still holds exactly what was signed, told in milliseconds.

What is new is verified by model-signing itself, in the inspecting process; importing it takes longer than a whole start
from the cache may. So this reads the one form of signature that tasks/signing.py writes and says yes, or nothing at all:
then the inspecting process has the word.
"""

import hashlib
import os
import stat
from base64 import b64decode
from pathlib import Path
from typing import Any

import orjson

from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult

SIGNATURE, EVIDENCE, MODEL = "evidence.sig", "evidence.json", "model.onnx"

PAYLOAD = "application/vnd.in-toto+json"

STATEMENT = "https://in-toto.io/Statement/v1"

PREDICATE = "https://model_signing/signature/v1.0"

IGNORED = frozenset({SIGNATURE, "registered_model_meta"})

FORM = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": sorted(IGNORED)}


def still_holds(question: InspectionRequest) -> InspectionResult | None:
    """What the inspecting process would find, if signature, files and evidence hold; None when it has to be asked."""
    from cryptography.exceptions import InvalidSignature

    try:
        return _finding(question)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InvalidSignature):
        return None


def _finding(question: InspectionRequest) -> InspectionResult | None:
    folder = question.folder
    assert question.key is not None
    signed = _signed((folder / SIGNATURE).read_bytes(), question.key.read_bytes())
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _files(folder)}
    text = (folder / EVIDENCE).read_bytes()
    evidence = orjson.loads(text)
    proved = {evidence["model_sha256"], evidence["proof"]["report"]["sha256"]}
    holds = (
        found == signed
        and hashlib.sha256(text).hexdigest() == signed[EVIDENCE]
        and proved == {signed[MODEL]}
        and evidence["model"] == question.model
    )
    return (
        InspectionResult(digest=signed[MODEL], decided=evidence["proof"]["verdict"]["decision"])
        if holds
        else None
    )


def _signed(signature: bytes, key: bytes) -> dict[str, str]:
    """Digests by file name, as the owner of the key signed them; an exception for anything but the one known form."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = serialization.load_pem_public_key(key)
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("not the kind of key that tasks/signing.py makes")
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bundle = orjson.loads(signature)
    envelope = bundle["dsseEnvelope"]
    (one,) = envelope["signatures"]
    payload = b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"]
    if bundle["verificationMaterial"]["publicKey"]["hint"] != hashlib.sha256(pem).hexdigest():
        raise ValueError("signed by another key")
    encoded = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    public.verify(b64decode(one["sig"], validate=True), encoded, ec.ECDSA(hashes.SHA256()))
    if kind != PAYLOAD:
        raise ValueError("not a statement")
    return _listed(orjson.loads(payload))


def _listed(statement: dict[str, Any]) -> dict[str, str]:
    """The files of a statement that was signed."""
    (subject,) = statement["subject"]
    predicate = statement["predicate"]
    form = {**predicate["serialization"], "ignore_paths": sorted(predicate["serialization"]["ignore_paths"])}
    resources = predicate["resources"]
    listed = {each["name"]: each["digest"] for each in resources if each["algorithm"] == "sha256"}
    root = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
    if (
        (statement["_type"], statement["predicateType"], form) != (STATEMENT, PREDICATE, FORM)
        or len(listed) != len(resources)
        or subject["digest"] != {"sha256": root}
    ):
        raise ValueError("another form than tasks/signing.py writes")
    return listed


def _files(folder: Path) -> list[str]:
    """Every file but the ignored ones, relative to the folder; ValueError for a link or anything special."""
    names = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            mode, relative = os.lstat(path).st_mode, Path(path).relative_to(folder).as_posix()
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ValueError(f"{relative} is a link or a special file")
            if stat.S_ISREG(mode) and relative not in IGNORED:
                names.append(relative)
    return names
