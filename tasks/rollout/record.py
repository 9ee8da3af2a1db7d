"""What servers obey of a rollout: a short signed record on the registered model. A weight that nobody signed is not obeyed."""

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from tasks.errors import StepError
from tasks.rollout.policy import Margins
from tasks.system.frozen import Frozen
from tasks.system.signers import PrivateKey
from tasks.system.signing import sign_text

ROLLOUT_TAG = "slipway.rollout"

LONGEST = 1024
"""Characters of a tag that holds a record."""


class RecordError(StepError):
    """A record that is not signed by our key, or says nothing that can be read: no server obeys it."""


class RolloutRecord(Frozen):
    """Where a rollout stands, derived from the ledger's last entry; servers take none of a lower `sequence`."""

    model: str
    run: str = Field(description="MLflow run that the servers' counts are written to.")
    old: int = Field(description="The champion's version.")
    new: int
    old_sha256: str
    new_sha256: str
    salt: str = Field(max_length=32, description="Other users are first in another rollout.")
    step: int = Field(ge=0)
    weight: float = Field(ge=0, lt=1, description="Share of the keys that `new` answers; 0 in shadow.")
    open: bool = Field(True, description="False: over or paused; nobody pairs, nobody is routed.")
    sequence: int = Field(ge=1, description="Of the ledger's entry that it follows from.")
    key: str | None = None
    margin: Margins = Margins()


def sign_record(record: RolloutRecord, key: Path | PrivateKey) -> str:
    """The tag's text: the record as JSON beside a signature over it."""
    payload = record.model_dump_json()
    text = json.dumps([payload, sign_text(payload, key)], separators=(",", ":"))
    if len(text) > LONGEST:
        raise RecordError(f"The record of the rollout takes {len(text)} characters, and {LONGEST} are kept.")
    return text


def read_record(text: str, fits: Callable[[str, str], bool]) -> RolloutRecord:
    """The record in a tag, if `fits` says that our key signed it. Raises RecordError; parses nothing unsigned."""
    try:
        payload, signature = json.loads(text)
        signed = isinstance(payload, str) and isinstance(signature, str) and fits(payload, signature)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError("The rollout's record is damaged.") from error
    if not signed:
        raise RecordError("The rollout's record is not signed by the owner of the public key.")
    try:
        return RolloutRecord.model_validate_json(payload)
    except ValidationError as error:
        raise RecordError(
            "The rollout's record is signed, and is none that this release can read."
        ) from error
