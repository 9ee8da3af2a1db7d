"""The permit to serve: a signed summary of what was decided about one version's bytes, which the server asks for before it loads them.

An in-toto statement with SLSA's verification summary (VSA, https://slsa.dev/spec/v1.1/verification_summary) in a DSSE envelope
(https://github.com/secure-systems-lab/dsse): what stock tools read, so that there is one record for the question. A version's newest
statement counts, by its serial: one that says FAILED withdraws those before it. The server imports this: nothing heavy here.
"""

import datetime
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from tasks.errors import StepError
from tasks.system.envelope import EnvelopeError, open_envelope, sign_statement, statement
from tasks.system.frozen import Frozen
from tasks.system.sentences import shortened
from tasks.system.signers import PrivateKey

PERMIT_TAG = "slipway.permit"
"""Of a model version: the envelope of its newest statement."""

Basis = Literal["gate", "approval", "ledger"]
"""What lets a version serve: its gate passed, a person let it through, or an entry of the ledger made before there were permits."""

SUMMARY, _SLSA = "https://slsa.dev/verification_summary/v1", "1.1"

_LEVEL = "SLSA_BUILD_LEVEL_"

_LONGEST_REASON = 500

_EVIDENCE, _STATEMENTS, _LEDGER = "/evidence.json", "/attestations.jsonl", "#ledger"
"""What a permit rests on: how the addresses of these end, behind the version's."""

_CLOCKS = datetime.timedelta(minutes=5)
"""How far another machine's clock may be before ours."""


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
    statements_sha256: str = Field("", description="Of attestations.jsonl; of a version without, empty.")
    entry_sha256: str = Field(
        "", description="Digest of the ledger's entry that let it serve; empty before there is one."
    )
    build_level: int = Field(
        0, ge=0, le=3, description="SLSA's, as the statements say; 0 where nothing is said."
    )
    granted: bool
    basis: Basis
    serial: int = Field(ge=1, description="Counts the statements about this version.")
    at: datetime.datetime
    by: str
    why: str

    def check(self, model: str, version: int, run_id: str, model_sha256: str) -> Self:
        """Itself, if it lets exactly these bytes serve as this version; PermitError otherwise."""
        self.check_subject(model, version, run_id, model_sha256)
        name = f"{model} version {version}"
        if not self.granted:
            raise PermitError(f"{name} may not serve: {self.why} ({self.by}, {self.at:%Y-%m-%d %H:%M} UTC).")
        if self.is_ahead:
            raise PermitError(
                f"{name}: its permit is of {self.at:%Y-%m-%d %H:%M} UTC, which is yet to come by this machine's clock: set that clock right, "
                "or the one of the machine that decided, and promote it again."
            )
        return self

    def check_subject(self, model: str, version: int, run_id: str, model_sha256: str) -> None:
        """Return if it is about exactly these bytes as this version, whatever it says of them; PermitError otherwise."""
        about = (self.model, self.version, self.run_id, self.model_sha256)
        if about != (model, version, run_id, model_sha256):
            raise PermitError(
                f"{model} version {version}: its permit is of {self.model} version {self.version} "
                f"(run {self.run_id[:8]}, {self.model_sha256[:16]}…) and not of run {run_id[:8]}, {model_sha256[:16]}…."
            )

    @property
    def is_ahead(self) -> bool:
        """Whether it lets a version serve from a time that is yet to come."""
        return self.granted and is_ahead(self.at)


def is_ahead(at: datetime.datetime) -> bool:
    """Whether a moment is yet to come, by more than clocks may differ."""
    return at > datetime.datetime.now(datetime.UTC) + _CLOCKS


def issue(permit: Permit, private_key: Path | PrivateKey) -> str:
    """The permit's signed envelope. Raises UserError for a key that cannot sign."""
    return json.dumps(sign_statement(_statement(permit), private_key))


def read_permit(text: str, fits: Callable[[str, str], bool]) -> Permit:
    """The permit in an envelope that `fits` (of `signing.text_checker`) says is signed. Raises PermitError; parses nothing unsigned."""
    try:
        return _permit(open_envelope(json.loads(text), fits))
    except EnvelopeError as error:
        raise PermitError(f"the permit is {error}.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise PermitError("the permit is damaged: it is no DSSE envelope that can be read.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise PermitError("the permit is signed, and is no verification summary of Slipway's.") from error


def policy_digest(gates: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(gates, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _statement(permit: Permit) -> dict[str, Any]:
    address = f"models:/{permit.model}/{permit.version}"
    rests_on = {
        _EVIDENCE: permit.evidence_sha256,
        _STATEMENTS: permit.statements_sha256,
        _LEDGER: permit.entry_sha256,
    }
    level = [f"{_LEVEL}{permit.build_level}"] if permit.build_level else []
    predicate = {
        "verifier": {"id": "pkg:pypi/slipway", "version": {"slipway": installed_version("slipway")}},
        "timeVerified": permit.at.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z"),
        "resourceUri": address,
        "policy": {"uri": f"{address}#gates", "digest": {"sha256": permit.policy_sha256}},
        "inputAttestations": [
            {"uri": f"{address}{end}", "digest": {"sha256": sha256}}
            for end, sha256 in rests_on.items()
            if sha256 or end == _EVIDENCE
        ],
        "verificationResult": "PASSED" if permit.granted else "FAILED",
        "verifiedLevels": [*level, f"SLIPWAY_{permit.basis.upper()}"] if permit.granted else ["FAILED"],
        "slsaVersion": _SLSA,
        "slipway": {
            "basis": permit.basis,
            "serial": permit.serial,
            "run": permit.run_id,
            "by": permit.by,
            "why": shortened(permit.why, _LONGEST_REASON),
        },
    }
    return statement(SUMMARY, [{"name": "model.onnx", "digest": {"sha256": permit.model_sha256}}], predicate)


def _permit(said: dict[str, Any]) -> Permit:
    predicate, (subject,) = said["predicate"], said["subject"]
    if said["predicateType"] != SUMMARY:
        raise ValueError(said["predicateType"])
    address, own, levels = predicate["resourceUri"], predicate["slipway"], predicate["verifiedLevels"]
    model, _, version = address.removeprefix("models:/").rpartition("/")
    rests_on = {
        each["uri"].removeprefix(address): each["digest"]["sha256"] for each in predicate["inputAttestations"]
    }
    return Permit(
        model=model,
        version=int(version),
        run_id=own["run"],
        model_sha256=subject["digest"]["sha256"],
        evidence_sha256=rests_on[_EVIDENCE],
        policy_sha256=predicate["policy"]["digest"]["sha256"],
        statements_sha256=rests_on.get(_STATEMENTS, ""),
        entry_sha256=rests_on.get(_LEDGER, ""),
        build_level=next(
            (int(level.removeprefix(_LEVEL)) for level in levels if level.startswith(_LEVEL)), 0
        ),
        granted=predicate["verificationResult"] == "PASSED",
        basis=own["basis"],
        serial=own["serial"],
        at=predicate["timeVerified"],
        by=own["by"],
        why=own["why"],
    )
