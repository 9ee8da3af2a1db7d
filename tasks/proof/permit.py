"""The permit to serve: a signed summary of what was decided about one version's bytes, which the server asks for before it loads them.

An in-toto statement with SLSA's verification summary (VSA, https://slsa.dev/spec/v1.1/verification_summary) in a DSSE envelope
(https://github.com/secure-systems-lab/dsse): what stock tools read, so that there is one record for the question. A version's newest
statement counts, by its serial: one that says FAILED withdraws those before it. The server imports this: nothing heavy here.
"""

import base64
import datetime
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from tasks.errors import StepError
from tasks.system.frozen import Frozen
from tasks.system.sentences import shortened
from tasks.system.signers import PrivateKey
from tasks.system.signing import sign_text

PERMIT_TAG = "slipway.permit"
"""Of a model version: the envelope of its newest statement."""

Basis = Literal["gate", "approval", "ledger"]
"""What lets a version serve: its gate passed, a person let it through, or an entry of the ledger made before there were permits."""

_PAYLOAD, _STATEMENT = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"

_PREDICATE, _SLSA = "https://slsa.dev/verification_summary/v1", "1.1"

_LONGEST_REASON = 500


class PermitError(StepError):
    """A version without a permit that holds; the sentence says why."""


class Permit(Frozen):
    """What the owner of the key says of one version: that it may serve, or (`granted` False) that it may not, or no longer."""

    model: str
    version: int
    run_id: str
    model_sha256: str
    evidence_sha256: str
    policy_sha256: str = Field(description="SHA-256 of the gates in force, as canonical JSON.")
    granted: bool
    basis: Basis
    serial: int = Field(ge=1, description="Counts the statements about this version.")
    at: datetime.datetime
    by: str
    why: str

    def check(self, model: str, version: int, run_id: str, model_sha256: str) -> Self:
        """Itself, if it lets exactly these bytes serve as this version; PermitError otherwise."""
        name = f"{model} version {version}"
        about = (self.model, self.version, self.run_id, self.model_sha256)
        if about != (model, version, run_id, model_sha256):
            raise PermitError(
                f"{name}: its permit is of {self.model} version {self.version} "
                f"(run {self.run_id[:8]}, {self.model_sha256[:16]}…) and not of run {run_id[:8]}, {model_sha256[:16]}…."
            )
        if not self.granted:
            raise PermitError(f"{name} may not serve: {self.why} ({self.by}, {self.at:%Y-%m-%d %H:%M} UTC).")
        return self


def issue(permit: Permit, private_key: Path | PrivateKey) -> str:
    """The permit's signed envelope. Raises UserError for a key that cannot sign."""
    payload = json.dumps(_statement(permit), sort_keys=True, separators=(",", ":"))
    signature = {"keyid": "", "sig": sign_text(_encoded(payload), private_key)}
    envelope = {
        "payloadType": _PAYLOAD,
        "payload": base64.b64encode(payload.encode()).decode(),
        "signatures": [signature],
    }
    return json.dumps(envelope)


def read_permit(text: str, fits: Callable[[str, str], bool]) -> Permit:
    """The permit in an envelope that `fits` (of `signing.text_checker`) says is signed. Raises PermitError; parses nothing unsigned."""
    try:
        envelope = json.loads(text)
        payload = base64.b64decode(envelope["payload"], validate=True).decode("ascii")
        signatures = [str(signature["sig"]) for signature in envelope["signatures"]]
        of_ours = envelope["payloadType"] == _PAYLOAD
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PermitError("the permit is damaged: it is no DSSE envelope that can be read.") from error
    if not of_ours or not any(fits(_encoded(payload), signature) for signature in signatures):
        raise PermitError("the permit is not signed by the owner of the public key.")
    try:
        return _permit(json.loads(payload))
    except (ValidationError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise PermitError("the permit is signed, and is no verification summary of Slipway's.") from error


def policy_digest(gates: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(gates, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _encoded(payload: str) -> str:
    """DSSE's pre-authentication encoding; `payload` is ASCII, so that characters are bytes."""
    return f"DSSEv1 {len(_PAYLOAD)} {_PAYLOAD} {len(payload)} {payload}"


def _statement(permit: Permit) -> dict[str, Any]:
    address = f"models:/{permit.model}/{permit.version}"
    return {
        "_type": _STATEMENT,
        "subject": [{"name": "model.onnx", "digest": {"sha256": permit.model_sha256}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "verifier": {"id": "pkg:pypi/slipway", "version": {"slipway": installed_version("slipway")}},
            "timeVerified": permit.at.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z"),
            "resourceUri": address,
            "policy": {"uri": f"{address}#gates", "digest": {"sha256": permit.policy_sha256}},
            "inputAttestations": [
                {"uri": f"{address}/evidence.json", "digest": {"sha256": permit.evidence_sha256}}
            ],
            "verificationResult": "PASSED" if permit.granted else "FAILED",
            "verifiedLevels": [f"SLIPWAY_{permit.basis.upper()}" if permit.granted else "FAILED"],
            "slsaVersion": _SLSA,
            "slipway": {
                "basis": permit.basis,
                "serial": permit.serial,
                "run": permit.run_id,
                "by": permit.by,
                "why": shortened(permit.why, _LONGEST_REASON),
            },
        },
    }


def _permit(statement: dict[str, Any]) -> Permit:
    predicate, (subject,) = statement["predicate"], statement["subject"]
    if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
        raise ValueError(statement["predicateType"])
    address, own = predicate["resourceUri"], predicate["slipway"]
    model, _, version = address.removeprefix("models:/").rpartition("/")
    return Permit(
        model=model,
        version=int(version),
        run_id=own["run"],
        model_sha256=subject["digest"]["sha256"],
        evidence_sha256=predicate["inputAttestations"][0]["digest"]["sha256"],
        policy_sha256=predicate["policy"]["digest"]["sha256"],
        granted=predicate["verificationResult"] == "PASSED",
        basis=own["basis"],
        serial=own["serial"],
        at=predicate["timeVerified"],
        by=own["by"],
        why=own["why"],
    )
