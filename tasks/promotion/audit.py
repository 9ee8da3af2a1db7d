"""Every version that was ever promoted, looked at again: bytes, signatures by the keys that counted then, chain, evidence, rows, and the score.

What was let go on purpose is no fault: a version that somebody deleted in the registry, rows that retention removed, traffic of then.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import computed_field

from tasks.errors import UserError
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.history import History, history
from tasks.promotion.replay import replay as replay_rollouts
from tasks.promotion.verification import check_version, downloaded, score_again
from tasks.proof.evidence import EVIDENCE, Evidence
from tasks.proof.permit import PERMIT_TAG, read_permit
from tasks.records import Version
from tasks.registry.key_changes import refresh_keys
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.files import sha256_of
from tasks.system.frozen import Frozen
from tasks.system.signing import EvidenceError, keyring

Standing = Literal["holds", "fails", "let go"]

Progress = Callable[[str, int, int], None]
"""Is told which version is looked at, how many were, and how many there are."""


class AuditedVersion(Frozen):
    """One version. `problems`: what does not hold; `notes`: what could not be looked at, and why that is no fault; `replayed`: its score, made again."""

    version: int
    standing: Standing
    promoted: datetime.datetime
    score: float | None = None
    score_name: str = ""
    replayed: float | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class AuditedModel(Frozen):
    """One model's ledger and versions, the oldest first."""

    model: str
    entries: int
    versions: tuple[AuditedVersion, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Audit(Frozen):
    """What was looked at, and whether all of it holds. `replayed`: scores and rollouts' decisions were made again."""

    at: datetime.datetime
    replayed: bool
    models: tuple[AuditedModel, ...]
    problems: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def holds(self) -> bool:
        return not list(self.faults())

    def faults(self) -> Iterator[str]:
        """In words, with the model and version that each is of."""
        yield from self.problems
        for model in self.models:
            yield from (f"{model.model}: {problem}" for problem in model.problems)
            for version in model.versions:
                yield from (
                    f"{model.model} version {version.version}: {problem}" for problem in version.problems
                )

    @property
    def headline(self) -> str:
        counted = [version for model in self.models for version in model.versions]
        let_go = sum(version.standing == "let go" for version in counted)
        said = f"{_count(len(counted), 'version')} of {_count(len(self.models), 'model')}"
        said += f" ({let_go:,} let go)" if let_go else ""
        faults = list(self.faults())
        if not faults:
            return f"{said}: all of it holds"
        return f"{said}: {len(faults):,} {'does' if len(faults) == 1 else 'do'} not hold: {faults[0]}"


def audit(
    settings: Settings, models: Sequence[str] = (), *, replay: bool = False, tell: Progress = lambda *_: None
) -> Audit:
    """Look at every version of these models, or of all, that a ledger ever let serve. Raises UserError for a model that is not there."""
    registry = Registry(settings)
    for model in models:
        check_model(registry, model)
    problems = refresh_keys(registry)
    names = list(models) or sorted(registry.models())
    histories = [history(settings, name) for name in names]
    promotions = {made.model: _promotions(made.entries) for made in histories}
    total, done = sum(map(len, promotions.values())), 0
    audited = []
    for made in histories:
        kept = {number for number in (made.champion, made.previous, made.challenger) if number is not None}
        versions = []
        for number, entries in promotions[made.model].items():
            tell(f"{made.model} version {number}", done, total)
            versions.append(_look(registry, entries, number, kept=number in kept, replay=replay))
            done += 1
        again = _decided_again(registry, made.model) if replay and made.entries else ((), ())
        audited.append(_audited(made, versions, again, problems))
    return Audit(
        at=datetime.datetime.now(datetime.UTC), replayed=replay, models=tuple(audited), problems=problems
    )


def _audited(
    made: History,
    versions: Sequence[AuditedVersion],
    again: tuple[tuple[str, ...], tuple[str, ...]],
    of_keys: Sequence[str],
) -> AuditedModel:
    """What is wrong with keys is every model's, and said once; a decision that is made meanwhile is no fault, for the next one ends it."""
    wrong = dict.fromkeys((*made.problems, *again[0]))
    waiting = (made.pending,) if made.pending else ()
    return AuditedModel(
        model=made.model,
        entries=len(made.entries),
        versions=tuple(versions),
        problems=tuple(problem for problem in wrong if problem not in (*of_keys, *waiting)),
        notes=(*made.notes, *waiting, *again[1]),
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _promotions(entries: Sequence[LedgerEntry]) -> dict[int, list[LedgerEntry]]:
    """By version, the entries that let it serve."""
    moves: dict[int, list[LedgerEntry]] = {}
    for entry in entries:
        if entry.moved and entry.to_version is not None:
            moves.setdefault(entry.to_version, []).append(entry)
    return dict(sorted(moves.items()))


def _look(
    registry: Registry, moves: Sequence[LedgerEntry], number: int, *, kept: bool, replay: bool
) -> AuditedVersion:
    """By the last of its `moves`: a model that was deleted and made anew counts its versions from one."""
    entry = moves[-1]
    about = AuditedVersion(version=number, standing="holds", promoted=moves[0].at)
    version = registry.version(entry.model, number)
    if version is None:
        said = "the registry has it no more"
        if kept:
            return about.model_copy(update={"standing": "fails", "problems": (said,)})
        return about.model_copy(update={"standing": "let go", "notes": (f"{said}: somebody deleted it",)})
    problems, notes = [*_permit(registry, version)], list[str]()
    try:
        with downloaded(registry, version) as folder:
            evidence = check_version(folder, version)
            about = about.model_copy(
                update={"score": evidence.proof.report.score, "score_name": evidence.proof.report.score_name}
            )
            problems += _as_decided(moves, evidence, folder)
            datasets = registry.settings.home / "datasets" / evidence.model
            if not any(datasets.glob(f"{evidence.dataset or evidence.fingerprint[:16] + '-*'}/dataset.json")):
                # A home with a registry of its own has the rows of what serves or may come next; of a team's, any worker may.
                own = (
                    kept and registry.settings.has_own_registry and entry.origin is None and datasets.is_dir()
                )
                (problems if own else notes).append(
                    "its rows are not on this machine"
                    if kept
                    else "its rows are not here: older ones are let go"
                )
            again, why_not = _scored_again(registry.settings, evidence, folder) if replay else (None, ())
            about = about.model_copy(update={"replayed": again})
            notes += why_not
    except UserError as error:
        problems.append(str(error).rstrip("."))
    standing = "fails" if problems else "holds"
    return about.model_copy(update={"standing": standing, "problems": tuple(problems), "notes": tuple(notes)})


def _scored_again(
    settings: Settings, evidence: Evidence, folder: Path
) -> tuple[float | None, tuple[str, ...]]:
    """Its score of now, or why there is none. Raises EvidenceError for another than it was proved with."""
    try:
        return score_again(settings, evidence, folder), ()
    except EvidenceError:
        raise
    except UserError as error:
        return None, (f"not scored again: {str(error).rstrip('.')}",)


def _as_decided(moves: Sequence[LedgerEntry], evidence: Evidence, folder: Path) -> Iterator[str]:
    """Whether the evidence is the one that the ledger has let serve, and whole; by the last decision that says which, for a tag can be taken away."""
    entry = next((entry for entry in reversed(moves) if entry.evidence is not None), None)
    if entry is not None and sha256_of(folder / EVIDENCE) != entry.evidence:
        yield f"its evidence is not the one that {entry} names"
    for name, there in (("candidates", evidence.candidates), ("libraries", evidence.libraries)):
        if not there:
            yield f"its evidence has no {name}"


def _permit(registry: Registry, version: Version) -> Iterator[str]:
    """What is wrong with its permit; one that was withdrawn holds, and one from before there were permits has none."""
    text = registry.tags(version).get(PERMIT_TAG)
    try:
        if text:
            about = (version.model, version.version, version.run_id, version.sha256)
            read_permit(text, keyring().fits).check_subject(*about)
    except UserError as error:
        yield str(error).rstrip(".")


def _decided_again(registry: Registry, model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What of a model's rollouts does not come out again, and what of them could not be counted again."""
    try:
        return (), replay_rollouts(registry, model).notes
    except EvidenceError as error:
        return (str(error).rstrip("."),), ()
