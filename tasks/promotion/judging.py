"""A registered version held against whatever serves now: as it was proved, on its rows again, or by what two registries share."""

from pathlib import Path

from tasks.measured import Champion, Comparison, ServingCheck, Verdict
from tasks.promotion.permits import serving_version
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.evidence import MODEL, Evidence
from tasks.proof.signature import signature_change
from tasks.records import Version
from tasks.registry.registry import Registry

_NO_ROWS = (
    "the rows of this proof are not at hand; what both take and give was compared, and digest and signer hold"
)


def verdict_against_champion(registry: Registry, version: Version) -> tuple[Evidence, Verdict]:
    """The version's evidence, and its verdict against the champion of now: judged again when it was against another."""
    with downloaded(registry, version) as folder:
        evidence = check_version(folder, version)
        return evidence, judge_folder(registry, version, folder, evidence)


def judge_folder(
    registry: Registry, version: Version, folder: Path, evidence: Evidence, trial: ServingCheck | None = None
) -> Verdict:
    """The verdict on a version that lies, checked, in `folder`. One that was copied here has a `trial` of its own, and is not judged on rows."""
    champion = serving_version(registry, version.model)
    copied = evidence.run_id != version.run_id  # the numbers in its evidence are another registry's
    if champion is None or champion.version == version.version:
        return _judge_again(evidence, None, trial) if copied else evidence.proof.verdict
    if not copied and champion.version == evidence.champion:
        return evidence.proof.verdict
    with downloaded(registry, champion) as theirs:
        other = Champion(version=champion.version, sha256=champion.sha256, folder=theirs)
        if copied:
            return _judge_again(evidence, _without_rows(evidence, folder, other), trial)
        from tasks.proof.holdout import answer_again, judge

        return judge(
            evidence, other, answer_again(evidence, folder / MODEL, registry.settings.home / "datasets")
        )


def _judge_again(evidence: Evidence, comparison: Comparison | None, trial: ServingCheck | None) -> Verdict:
    from tasks.proof.holdout import judge_again

    return judge_again(evidence, comparison, trial)


def _without_rows(evidence: Evidence, folder: Path, other: Champion) -> Comparison:
    """The comparison that the evidence has, where it was made with these very bytes; else the signature alone is compared."""
    proved = evidence.proof.comparison
    if proved is not None and proved.sha256 == other.sha256:
        return proved.model_copy(update={"champion": other.version})
    change = signature_change(folder, other.folder)
    return Comparison(
        champion=other.version,
        sha256=other.sha256,
        rows=0,
        score=None,
        problem=_NO_ROWS,
        new_signature=change,
    )
