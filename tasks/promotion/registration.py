"""Pick and proof → a registered version: every candidate logged, the proved bytes sealed, uploaded and tagged."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.attestation.bundle import ATTESTATIONS, write_statements
from tasks.onnx.package import build_folder
from tasks.outcome import CandidateResult, Selection
from tasks.promotion.ledger import read_ledger
from tasks.proof.evidence import EVIDENCE, Evidence, files_beside, seal
from tasks.proof.permit import policy_digest
from tasks.records import Candidate, Checkpoint, Dataset, Metric, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import (
    DATA_TAG,
    EVIDENCE_TAG,
    KEY_TAG,
    NEWEST_TAG,
    PICKED_TAG,
    POLICY_TAG,
    SCORE_TAG,
    STATEMENTS_TAG,
    VERDICT_TAG,
)
from tasks.reporting.explained_rows import attributions
from tasks.reporting.model_card import WRITTEN_HERE, model_card, model_page
from tasks.reporting.report import write_report
from tasks.training.metrics import read_metrics

_MOST_FORMER = 3


def register(
    registry: Registry,
    evidence: Evidence,
    dataset: Dataset,
    picked: Candidate,
    selection: Selection,
    folder: Path,
    key: str,
    checkpoint: Checkpoint,
) -> Version:
    """Log candidates, checkpoint and report, seal the pick's folder with its evidence, and register it. No alias moves.

    Two runs of a model here share `folder`, so they take turns: else one would upload what the other has half written.
    """
    from filelock import FileLock

    assert picked.onnx is not None
    with FileLock(folder.with_name("release.lock")):
        address = registry.run_address(evidence.model, evidence.run_id)
        page = folder.with_name("report.html")
        metrics = read_metrics(checkpoint.metrics)
        links = {"MLflow run": address} if address else None
        hangs_on = attributions(evidence.workload, dataset, picked.onnx.path)
        approval = registry.settings.policy(evidence.model).approval
        write_report(evidence, dataset, selection, metrics, page, links, hangs_on, approval)
        for path in (page, checkpoint.path, checkpoint.metrics):
            registry.log_file(evidence.run_id, path)
        registry.log_metrics(evidence.run_id, [*_details(evidence)])
        registry.drop_candidates(evidence.model, evidence.run_id)
        model_id = _log_candidates(registry, evidence, dataset, selection)
        shutil.rmtree(folder, ignore_errors=True)
        build_folder(picked.onnx, dataset, folder, registry.model_card(model_id, evidence.run_id))
        evidence = evidence.model_copy(update={"files": files_beside(folder)})
        stated = write_statements(folder, evidence)
        digest = seal(folder, evidence)
        for name in (EVIDENCE, ATTESTATIONS):
            registry.log_file(evidence.run_id, folder / name)
        card = model_card(evidence, dataset, picked.onnx, [*_served(registry, evidence.model)])
        version = registry.register(
            evidence.run_id,
            evidence.model,
            model_id,
            folder,
            picked.onnx,
            {KEY_TAG: key, **tags_of(evidence, digest, dataset.newest, stated)},
            card,
        )
        about = model_page(evidence.model, evidence.workload, dataset, registry.runs_address(evidence.model))
        registry.describe(evidence.model, about, mark=WRITTEN_HERE)
        return version


def _served(registry: Registry, model: str) -> Iterator[str]:
    """The last champions, the newest first."""
    moves = [entry for entry in read_ledger(registry, model).entries if entry.moved and entry.to_version]
    for entry in moves[: -_MOST_FORMER - 1 : -1]:
        yield f"version {entry.to_version} since {entry.at:%d %B %Y}, by {entry.person}: {entry.why}"


def _log_candidates(registry: Registry, evidence: Evidence, dataset: Dataset, selection: Selection) -> str:
    """All of them, the pick last, for the run shows what was measured last; and what was said of the pick. The pick's id."""
    run_id, report = evidence.run_id, evidence.proof.report
    for result in sorted(selection.candidates, key=lambda result: result.status == "picked"):
        params = {
            "status": result.status,
            "engine": f"{result.engine} {result.precision or ''}".strip(),
            "why": "; ".join(result.reasons)[:250],
        }
        model_id = registry.log_candidate(run_id, dataset, result.name, _metrics(result), params)
        if result.status != "picked":
            registry.finish_candidate(model_id, refused=result.status == "refused")
    registry.log_measured(run_id, dataset, model_id, {"score": report.score}, report.split)
    verdict = evidence.proof.verdict.decision
    registry.tag_run(run_id, {VERDICT_TAG: verdict, PICKED_TAG: selection.picked})
    return model_id


def _metrics(result: CandidateResult) -> dict[str, float]:
    numbers = result.model_dump(
        exclude={"name", "status", "engine", "precision", "reasons"}, exclude_none=True
    )
    return {name: float(value) for name, value in numbers.items()}


def _details(evidence: Evidence) -> Iterator[Metric]:
    """What the goals say beside their scores, a curve of what has several numbers; the same again where a run goes on."""
    at = round(evidence.created.timestamp() * 1000)
    for detail in evidence.proof.report.details:
        key = f"test/{detail.name.replace(' ', '_')}"
        for step, value in enumerate(detail.values, 1):
            if value is not None:
                yield Metric(key=key, value=value, step=step, timestamp=at)


def tags_of(evidence: Evidence, digest: str, newest: str | None, stated: str | None) -> dict[str, str]:
    """What a version says of its evidence, whose own SHA-256 is `digest`; `newest`: the last moment of its rows; `stated`: SHA-256 of its statements."""
    report, verdict = evidence.proof.report, evidence.proof.verdict
    origin = evidence.origin.tags if evidence.origin else {}
    return (
        ({NEWEST_TAG: newest} if newest is not None else {})
        | ({STATEMENTS_TAG: stated} if stated is not None else {})
        | origin
        | {
            "slipway.workload": evidence.workload,
            PICKED_TAG: evidence.picked,
            "slipway.score": repr(report.score),
            SCORE_TAG: report.score_name,
            VERDICT_TAG: verdict.decision,
            EVIDENCE_TAG: digest,
            POLICY_TAG: policy_digest(evidence.config.get("gates", {})),
            DATA_TAG: evidence.fingerprint,
            "slipway.code": evidence.code.revision or "unknown",
        }
    )
