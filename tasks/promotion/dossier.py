"""What the registry, the ledger and the keys have about a version, gathered into its dossier; nothing is decided here."""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import NamedTuple

from tasks.attestation.bundle import ATTESTATIONS, Signers, read_statements
from tasks.attestation.results import judged, worst
from tasks.config import Gates
from tasks.errors import StepError, UserError
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.history import History, history
from tasks.promotion.incidents import incidents
from tasks.promotion.keys import trusted_keys
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.evidence import EVIDENCE, Evidence
from tasks.proof.permit import PERMIT_TAG, Permit, PermitError, read_permit
from tasks.records import Version
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG
from tasks.reporting.ai_act import HEADINGS
from tasks.reporting.dossier import Chapter, Decision, Dossier, Key, Labelled, Standing, Statement, Test
from tasks.reporting.why import why_then
from tasks.settings import Settings
from tasks.system.envelope import digest_of
from tasks.system.files import sha256_of
from tasks.system.signing import EvidenceError, keyring

_RESULTS = {"pass": "passed", "inconclusive": "warned", "fail": "failed"}

_LONGEST = 100_000
"""Characters of a text of the provider's."""


class _Looked(NamedTuple):
    """A version's files, as they were looked at: what they prove, or why they do not."""

    evidence: Evidence | None = None
    sha256: str | None = None
    statements: tuple[Statement, ...] = ()
    error: StepError | None = None
    standing: Standing = "on file"


_DELETED = _Looked(error=StepError("somebody deleted it"), standing="let go")


def dossier(settings: Settings, reference: str, provider: Path | None = None) -> Dossier:
    """All that is on file about what MODEL, MODEL@ALIAS or MODEL/VERSION names, each version's files checked.

    `provider`: a folder with what only the provider can write, a file a heading. Raises UserError for a version that neither the
    registry nor the ledger has, and EvidenceError where the version's own files are there and do not hold.
    """
    written = _provided(provider) if provider is not None else {}
    registry = Registry(settings)
    model, number = _resolve(registry, reference)
    decided = history(settings, model)
    there = dict((version.version, (version, tags)) for version, tags in registry.versions(model))
    looked = {each: _look(registry, *there[each]) for each in sorted(there)}
    own = looked.get(number, _DELETED)
    if own.error is not None and own.standing != "let go":
        raise own.error
    decisions = tuple(map(_decision, decided.entries))
    chapters = tuple(_chapters(number, decided, decisions, looked))
    permit, unpermitted = _permit(there[number][1] if number in there else {})
    gates = own.evidence.config.get("gates", {}) if own.evidence is not None else {}
    labelled, not_labelled = _labelled(settings, model)
    return Dossier(
        model=model,
        version=number,
        written=datetime.datetime.now(datetime.UTC),
        slipway=installed_version("slipway"),
        champion=decided.champion,
        sha256=there[number][0].sha256 if number in there else "",
        evidence=own.evidence,
        evidence_sha256=own.sha256,
        let_go=_let_go(own, number in there),
        tests=tuple(_tests(own.evidence)) if own.evidence is not None else (),
        gates=gates,
        history=chapters,
        decisions=decisions,
        incidents=tuple(
            incidents(
                model,
                decided.entries,
                {each: tags for each, (_, tags) in there.items()},
                registry.model_tags(model) or {},
            )
        ),
        statements=own.statements,
        permit=permit,
        keys=tuple(_keys(settings)),
        labelled=labelled,
        not_labelled=not_labelled,
        problems=(*decided.problems, *unpermitted, *_faults(chapters)),
        notes=decided.notes,
        provider=written,
    )


def _resolve(registry: Registry, reference: str) -> tuple[str, int]:
    """The model and number; of a version that was deleted, by the ledger, which goes on naming it."""
    try:
        version = find_version(registry, reference)
        return version.model, version.version
    except UserError:
        model, _, number = reference.partition("/")
        if not number.isdecimal() or registry.model_tags(model) is None:
            raise
        if not any(entry.to_version == int(number) for entry in history(registry.settings, model).entries):
            raise
        return model, int(number)


def _look(registry: Registry, version: Version, tags: dict[str, str]) -> _Looked:
    standing: Standing = "let go"
    try:
        with downloaded(registry, version) as folder:
            proved = EVIDENCE_TAG in tags or (folder / EVIDENCE).exists()
            standing = "does not hold" if proved else "unproved"
            evidence, sha256 = check_version(folder, version), sha256_of(folder / EVIDENCE)
            if tags.get(EVIDENCE_TAG, sha256) != sha256:
                raise EvidenceError(
                    f"{version.model} version {version.version}: its evidence is not the one that was registered.",
                    "other",
                )
            return _Looked(evidence, sha256, tuple(_statements(folder, sha256)))
    except StepError as error:
        return _Looked(error=error, standing=standing)


def _statements(folder: Path, evidence_sha256: str) -> Iterator[Statement]:
    """Those of a checked folder, by whichever key counted beside its evidence."""
    path = folder / ATTESTATIONS
    if path.exists():
        fits = Signers(keyring(), evidence_sha256).fits
        for name, said in read_statements(path.read_bytes(), fits, folder.name).items():
            yield Statement(name=name, predicate=said["predicateType"], sha256=digest_of(said))


def _let_go(own: _Looked, registered: bool) -> str | None:
    if not registered:
        return "The registry has this version no more: somebody deleted it. What stands here is what the ledger and the other versions say."
    return None if own.error is None else f"Its files are not there any more: {str(own.error).rstrip('.')}."


def _chapters(
    number: int,
    decided: History,
    decisions: Sequence[Decision],
    looked: Mapping[int, _Looked],
) -> Iterator[Chapter]:
    """Every number from the first to the last that the registry or the ledger has, so that a gap would be seen."""
    last = max([number, *looked, *(each.version for each in decisions if each.version is not None)])
    named = {entry.to_version: entry.evidence for entry in decided.entries if entry.moved}
    needed = {decided.champion, decided.previous, decided.challenger}
    for version in range(1, last + 1):
        files = looked.get(version, _DELETED)
        if files.standing == "let go" and version in needed:
            files = files._replace(standing="does not hold")
        chapter = _looked_at(version, files, named.get(version))
        about = tuple(each for each in decisions if each.version == version)
        away = tuple(
            each for each in decisions if each.moved and each.from_version == version != each.version
        )
        yield chapter.model_copy(update={"decisions": about, "replaced": away})


def _looked_at(version: int, files: _Looked, named: str | None) -> Chapter:
    """By its files; `named`: the SHA-256 of the evidence by which it was let serve."""
    evidence = files.evidence
    if evidence is None:
        why_not = re.sub(r"^\S+-v\d+: ", "", str(files.error).rstrip("."))
        return Chapter(version=version, standing=files.standing, why_not=why_not)
    other = named is not None and named != files.sha256
    return Chapter(
        version=version,
        standing="does not hold" if other else "on file",
        why_not="its evidence is not the one that the ledger's decision names" if other else None,
        made=evidence.created,
        fingerprint=evidence.fingerprint,
        rows=evidence.described_rows,
        score=evidence.proof.report.score,
        score_name=evidence.proof.report.score_name,
        picked=evidence.picked,
        why=why_then(evidence),
    )


def _faults(chapters: Sequence[Chapter]) -> Iterator[str]:
    for chapter in chapters:
        if chapter.standing == "does not hold":
            yield f"version {chapter.version}: {chapter.why_not}"


def _decision(entry: LedgerEntry) -> Decision:
    return Decision(
        sequence=entry.sequence,
        at=entry.at,
        what=entry.title,
        moved=entry.moved,
        version=entry.to_version,
        from_version=entry.from_version,
        who=entry.person,
        claimed=entry.claimed,
        why=entry.why,
        verdict=entry.verdict,
        digest=entry.digest,
        origin=str(entry.origin) if entry.origin is not None else None,
        rollout=entry.rollout,
    )


def _tests(evidence: Evidence) -> Iterator[Test]:
    said = judged(evidence.proof, Gates.model_validate(evidence.config.get("gates", {})))
    for name, each in said.items():
        yield Test(name=name, result=_RESULTS[worst(each)], reasons=tuple(reason for _, reason in each))


def _permit(tags: dict[str, str]) -> tuple[Permit | None, tuple[str, ...]]:
    text = tags.get(PERMIT_TAG)
    try:
        return (read_permit(text, keyring().fits) if text else None), ()
    except PermitError as error:
        return None, (str(error).rstrip("."),)


def _keys(settings: Settings) -> Iterator[Key]:
    for key in trusted_keys(settings).keys:
        yield Key(
            fingerprint=key.fingerprint,
            standing=key.standing,
            since=key.since,
            until=key.revoked or key.until,
            why=key.why,
        )


def _labelled(settings: Settings, model: str) -> tuple[tuple[Labelled, ...], str | None]:
    from tasks.traffic.score import score

    try:
        scored = score(settings, model, "version", datetime.datetime.now(datetime.UTC))
    except UserError as error:
        return (), str(error)
    names = Labelled.model_fields
    groups = [each.model_dump(include=set(names)) for each in (*scored.groups, scored.overall)]
    return tuple(map(Labelled.model_validate, groups)), None


def _provided(folder: Path) -> dict[str, str]:
    """What the provider wrote, by heading. Raises UserError for a folder that has none of it, or a file that is no text."""
    names = {heading.file: heading.number for heading in HEADINGS}
    if not folder.is_dir():
        raise UserError(
            f"--with {folder} is no folder: name one that has {', '.join(names)}, or some of them."
        )
    texts = {}
    for path in sorted(folder.glob("*.md")):
        if path.name not in names:
            raise UserError(f"{path} is of no heading: name it one of {', '.join(names)}.")
        try:
            texts[names[path.name]] = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as text: {error}.") from error
        if len(texts[names[path.name]]) > _LONGEST:
            raise UserError(
                f"{path} has over {_LONGEST:,} characters: say it shorter, or say where it stands."
            )
    if not texts:
        raise UserError(f"--with {folder} has no file of a heading: {', '.join(names)}.")
    return texts
