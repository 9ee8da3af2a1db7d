"""Pick and proof → a registered version: every candidate logged, the proved bytes sealed, uploaded and tagged."""

import shutil
from pathlib import Path

from tasks.onnx.package import build_folder
from tasks.outcome import CandidateResult, Selection
from tasks.proof.evidence import Evidence, seal
from tasks.proof.permit import policy_digest
from tasks.records import Candidate, Checkpoint, Dataset, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import DATA_TAG, EVIDENCE_TAG, KEY_TAG, NEWEST_TAG, POLICY_TAG, VERDICT_TAG
from tasks.reporting.explained_rows import attributions
from tasks.reporting.model_card import model_card
from tasks.reporting.report import write_report
from tasks.training.metrics import read_metrics


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
        write_report(evidence, dataset, selection, metrics, page, links, hangs_on)
        for path in (page, checkpoint.path, checkpoint.metrics):
            registry.log_file(evidence.run_id, path)
        registry.drop_candidates(evidence.model, evidence.run_id)
        for result in selection.candidates:
            tags = {"slipway.status": result.status}
            logged = registry.log_candidate(evidence.run_id, dataset, result.name, _metrics(result), tags)
            if result.status == "picked":
                model_id = logged
            else:
                registry.finish_candidate(logged, refused=result.status == "refused")
        shutil.rmtree(folder, ignore_errors=True)
        build_folder(picked.onnx, dataset, folder, registry.model_card(model_id, evidence.run_id))
        digest = seal(folder, evidence)
        registry.log_file(evidence.run_id, folder / "evidence.json")
        card = model_card(evidence, dataset, picked.onnx)
        return registry.register(
            evidence.run_id,
            evidence.model,
            model_id,
            folder,
            picked.onnx,
            _tags(evidence, dataset, key, digest),
            card,
        )


def _metrics(result: CandidateResult) -> dict[str, float]:
    numbers = result.model_dump(exclude={"name", "status", "reasons"}, exclude_none=True)
    return {name: float(value) for name, value in numbers.items()}


def _tags(evidence: Evidence, dataset: Dataset, key: str, digest: str) -> dict[str, str]:
    report, verdict = evidence.proof.report, evidence.proof.verdict
    newest = {NEWEST_TAG: dataset.newest} if dataset.newest is not None else {}
    origin = evidence.origin.tags if evidence.origin else {}
    return (
        newest
        | origin
        | {
            KEY_TAG: key,
            "slipway.workload": evidence.workload,
            "slipway.picked": evidence.picked,
            "slipway.score": repr(report.score),
            "slipway.score_name": report.score_name,
            VERDICT_TAG: verdict.decision,
            EVIDENCE_TAG: digest,
            POLICY_TAG: policy_digest(evidence.config.get("gates", {})),
            DATA_TAG: evidence.fingerprint,
            "slipway.code": evidence.code.revision or "unknown",
        }
    )
