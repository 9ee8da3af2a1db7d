"""Pick and proof → a registered version: every candidate logged, the proved bytes sealed, uploaded and tagged."""

import datetime
import shutil
from pathlib import Path

from tasks.card import model_card
from tasks.config import Run
from tasks.evidence import Evidence, code_state, library_versions, machine, seal
from tasks.explain_page import attributions
from tasks.metrics import read_metrics
from tasks.outcome import CandidateResult, Selection, StepTime
from tasks.package import build_folder
from tasks.promotion import EVIDENCE_TAG, VERDICT_TAG
from tasks.records import Candidate, Checkpoint, Dataset, Proof, Report, Version
from tasks.registry import KEY_TAG, NEWEST_TAG, Registry
from tasks.report import write_report


def make_evidence(
    *,
    workload: str,
    run_id: str,
    config: Run,
    dataset: Dataset,
    checkpoint: Checkpoint,
    reports: tuple[Report, ...],
    selection: Selection,
    proof: Proof,
    times: tuple[StepTime, ...],
) -> Evidence:
    """All that has to be known to believe the version, in one record."""
    return Evidence(
        model=dataset.workload,
        workload=workload,
        created=datetime.datetime.now(datetime.UTC),
        model_sha256=proof.report.sha256,
        run_id=run_id,
        fingerprint=dataset.fingerprint,
        rows=dataset.rows,
        dataset=dataset.folder.name,
        classes=dataset.classes,
        checkpoint_sha256=checkpoint.sha256,
        code=code_state(),
        config=config.model_dump(mode="json"),
        libraries=library_versions(),
        machine=machine(),
        candidates=reports,
        losers={c.name: "; ".join(c.reasons) for c in selection.candidates if c.status != "picked"},
        picked=selection.picked,
        proof=proof,
        champion=proof.comparison.champion if proof.comparison else None,
        times=times,
    )


def release(
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
        model_ids = {
            result.name: registry.log_candidate(
                evidence.run_id, dataset, result.name, _metrics(result), {"slipway.status": result.status}
            )
            for result in selection.candidates
        }
        for result in selection.candidates:
            if result.status != "picked":
                registry.finish_candidate(model_ids[result.name], refused=result.status == "refused")
        model_id = model_ids[selection.picked]
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
    found = {
        "score": result.score,
        "score_drop": result.score_drop,
        "size_bytes": result.size_bytes,
        "latency_ratio": result.latency_ratio,
        "throughput_ratio": result.throughput_ratio,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _tags(evidence: Evidence, dataset: Dataset, key: str, digest: str) -> dict[str, str]:
    report, verdict = evidence.proof.report, evidence.proof.verdict
    newest = {NEWEST_TAG: dataset.newest} if dataset.newest is not None else {}
    return newest | {
        KEY_TAG: key,
        "slipway.workload": evidence.workload,
        "slipway.picked": evidence.picked,
        "slipway.score": repr(report.score),
        "slipway.score_name": report.score_name,
        VERDICT_TAG: verdict.decision,
        EVIDENCE_TAG: digest,
        "slipway.data": evidence.fingerprint,
        "slipway.code": evidence.code.revision or "unknown",
    }
