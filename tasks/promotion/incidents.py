"""What did not go as it should with a model: refused, taken back, gone back from, moved by hand, an alarm; by the ledger and by tags."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from tasks.promotion.entries import LedgerEntry, name_of
from tasks.registry.status_tags import read_statuses
from tasks.registry.tags import MOVE_TAG, REVERTED_TAG
from tasks.reporting.dossier import Incident
from tasks.rollout.reported import RevertNote
from tasks.system.signing import keyring

_ENTRIES = {
    "refuse": "a version was refused",
    "rollback": "what served was taken back",
    "abort": "a rollout was ended, and the old version kept",
    "repair": "the alias was moved outside of Slipway",
    "accept": "the ledger was accepted as it stood",
}

_STATUSES = {"traffic": "the monitor is alarmed", "run": "a run did not end well"}


def incidents(
    model: str,
    entries: Sequence[LedgerEntry],
    versions: Mapping[int, Mapping[str, str]],
    tags: Mapping[str, str],
) -> Iterator[Incident]:
    """The ledger's in order, then what tags say of each of `versions` and of the model. A tag keeps the last word alone."""
    for entry in entries:
        if entry.action in _ENTRIES:
            yield Incident(
                what=_ENTRIES[entry.action],
                said=f"{entry.title}, by {entry.person}: {entry.why}",
                version=entry.from_version if entry.action == "rollback" else entry.to_version,
                source=f"entry {entry.sequence} of the ledger, signed",
                at=entry.at,
            )
    for number in sorted(versions):
        yield from _tagged(number, versions[number])
    for subject, status in read_statuses(model, tags, keyring().fits).items():
        if subject in _STATUSES and status.tone in ("warn", "bad"):
            yield Incident(
                what=_STATUSES[subject],
                said=status.said,
                version=status.version,
                source=f"the last word on the {subject}, signed",
                at=status.at,
            )


def _tagged(number: int, tags: Mapping[str, str]) -> Iterator[Incident]:
    """What is written on a version by servers, which have no key to sign with, and by whoever refused a move."""
    if text := tags.get(REVERTED_TAG):
        try:
            note = RevertNote.model_validate_json(text)
            said, at = f"{note.by}: {note.reason}", note.at
        except ValidationError:
            said, at = f"a note that cannot be read: {text}", None
        source = f"a tag of {name_of(number)}, not signed"
        yield Incident(
            what="servers went back from a version", said=said, version=number, source=source, at=at
        )
    if text := tags.get(MOVE_TAG):
        source = f"a tag of {name_of(number)}, not signed"
        yield Incident(
            what="a move of the alias by hand was refused", said=text, version=number, source=source
        )
