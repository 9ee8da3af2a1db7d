"""What a copy to another registry takes along: a version that serves here, its files checked, and what the registry and ledger here say of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tasks.errors import RefusedError, StepError
from tasks.promotion.entries import Origin
from tasks.promotion.ledger import LedgerError, read_ledger
from tasks.promotion.permits import may_serve
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.evidence import EVIDENCE, Evidence
from tasks.records import Version
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.registry.tags import NEWEST_TAG
from tasks.settings import Settings
from tasks.system.files import sha256_of
from tasks.system.scratch import scratch
from tasks.system.sentences import shortened
from tasks.system.signing import EvidenceError, public_key
from tasks.system.urls import without_secrets

_PAGE = "report.html"

_LONGEST_REASON = 500
"""Of what the ledger there keeps of the reason here: an entry has room for one long one."""


class Parcel(NamedTuple):
    """What is taken along: the version's files as they were checked, and what its registry says beside them."""

    version: Version
    folder: Path
    evidence: Evidence
    digest: str
    origin: Origin
    newest: str | None
    description: str
    page: Path | None


@contextmanager
def packed(source: Registry, reference: str, there: Settings) -> Iterator[Parcel]:
    version = find_version(source, reference)
    with downloaded(source, version) as folder, scratch("copy") as arriving:
        evidence = _checked(folder, version, there)
        page: Path | None = arriving / _PAGE
        try:
            source.download_file(version, _PAGE, arriving)
        except StepError:  # people read it, and nothing rests on it
            page = None
        yield Parcel(
            version=version,
            folder=folder,
            evidence=evidence,
            digest=sha256_of(folder / EVIDENCE),
            origin=_origin(source, version),
            newest=source.tags(version).get(NEWEST_TAG),
            description=source.description(version),
            page=page,
        )


def _checked(folder: Path, version: Version, there: Settings) -> Evidence:
    try:
        return check_version(folder, version)
    except EvidenceError as error:
        if error.part != "key":
            raise
        raise EvidenceError(
            f"{version.model} version {version.version} is not signed by the key that {shown(there)} is checked with here, "
            f"{public_key()}: train it again where SLIPWAY_PRIVATE_KEY is that key's private half, and copy that version.",
            "key",
        ) from error


def _origin(source: Registry, version: Version) -> Origin:
    """What the ledger here says of a version that serves, or served, by it. Raises RefusedError for one that never did, or may not."""
    model, number = version.model, version.version
    ledger = read_ledger(source, model)
    if ledger.problems:
        raise LedgerError(
            f"Nothing is copied: {ledger.problems[0]}. `slipway history {model}` says all that is wrong with the ledger here."
        )
    why_not = may_serve(source, ledger, version)
    entries = [entry for entry in ledger.entries if entry.moved and entry.to_version == number]
    if why_not is not None or not entries:
        raise RefusedError(
            f"{model} version {number} is not copied: {why_not or 'nobody has promoted it here'}. Promote it here first: "
            f"`slipway promote {model} {number} --reason TEXT`."
        )
    last = entries[-1]
    return Origin(
        registry=shown(source.settings),
        version=number,
        entry=last.digest,
        who=last.who,
        why=shortened(last.why, _LONGEST_REASON),
    )


def shown(settings: Settings) -> str:
    return without_secrets(settings.tracking_uri)
