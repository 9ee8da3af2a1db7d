"""An in-toto statement in a DSSE envelope: how Slipway signs what stock tools are to read. The server imports this: nothing heavy here.

Envelopes: https://github.com/secure-systems-lab/dsse; statements: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.system.signers import PrivateKey
from tasks.system.signing import sign_text

PAYLOAD, STATEMENT = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"


class EnvelopeError(ValueError):
    """Why an envelope says nothing, as words that go behind "it is"."""


def statement(
    predicate_type: str, subject: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "_type": STATEMENT,
        "subject": [*subject],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def payload_of(said: Mapping[str, Any]) -> str:
    """The one JSON text that a statement is signed as; ASCII, so that characters are bytes."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def digest_of(said: Mapping[str, Any]) -> str:
    """SHA-256 of a statement as it is signed: by this others name it."""
    return hashlib.sha256(payload_of(said).encode()).hexdigest()


def sign_statement(said: Mapping[str, Any], private_key: Path | PrivateKey) -> dict[str, Any]:
    """The envelope as JSON has it. Raises UserError for a key that cannot sign."""
    payload = payload_of(said)
    return {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(payload.encode()).decode(),
        "signatures": [{"keyid": "", "sig": sign_text(_encoded(payload), private_key)}],
    }


def open_envelope(envelope: Any, fits: Callable[[str, str], bool]) -> dict[str, Any]:
    """The statement in an envelope that `fits` (of `signing.text_checker`) says is signed. Raises EnvelopeError; parses nothing unsigned."""
    try:
        payload = base64.b64decode(envelope["payload"], validate=True).decode("ascii")
        signatures = [str(signature["sig"]) for signature in envelope["signatures"]]
        of_ours = envelope["payloadType"] == PAYLOAD
    except (ValueError, KeyError, TypeError) as error:
        raise EnvelopeError("damaged: it is no DSSE envelope that can be read") from error
    if not of_ours or not any(fits(_encoded(payload), signature) for signature in signatures):
        raise EnvelopeError("not signed by the owner of the public key")
    try:
        said = json.loads(payload)
        if said["_type"] != STATEMENT:
            raise ValueError(said["_type"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EnvelopeError("signed, and is no in-toto statement") from error
    return dict(said)


def _encoded(payload: str) -> str:
    """DSSE's pre-authentication encoding."""
    return f"DSSEv1 {len(PAYLOAD)} {PAYLOAD} {len(payload)} {payload}"
