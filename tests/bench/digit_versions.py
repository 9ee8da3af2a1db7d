"""Versions of the digits that can be judged, served and judged again: a linear model, its weights disturbed at will."""

import datetime
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tasks.attestation.bundle import write_statements
from tasks.config import Data, Gates
from tasks.data.dataset import read_split
from tasks.measured import Proof, Report, Verdict
from tasks.onnx.package import build_folder
from tasks.onnx.session import open_session, run_rows
from tasks.proof import evidence
from tasks.proof.evidence import Evidence
from tasks.proof.provenance import Code
from tasks.records import Candidate, Dataset, OnnxModel, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG, STATEMENTS_TAG, VERDICT_TAG
from tasks.system.files import sha256_of
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import score


def register(
    registry: Registry,
    dataset: Dataset,
    fp32: Candidate,
    noise: float = 0.0,
    decision: str = "pass",
    champion: int | None = None,
) -> Version:
    """A version whose evidence says `decision` against `champion`; `noise` on the weights makes it worse."""
    assert fp32.onnx is not None
    folder = registry.settings.home / "package"
    path = registry.settings.home / "disturbed.onnx"
    _disturb(fp32.onnx.path, path, noise)
    file = fp32.onnx.model_copy(
        update={"path": path, "sha256": sha256_of(path), "size_bytes": path.stat().st_size}
    )
    build_folder(file, dataset, folder)
    run_id = registry.start_run("digits", "run", {})
    proved = _evidence(dataset, file, decision, champion, run_id)
    stated = write_statements(folder, proved)
    tags = {STATEMENTS_TAG: stated, EVIDENCE_TAG: evidence.seal(folder, proved), VERDICT_TAG: decision}
    version = _upload(registry, run_id, folder, file, tags)
    shutil.rmtree(folder)
    return version


def _disturb(source: Path, target: Path, noise: float) -> None:
    model = onnx.load(source)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 2:
            moved = (values + noise * rng.normal(size=values.shape)).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    onnx.save(model, target)


def _evidence(
    dataset: Dataset, file: OnnxModel, decision: str, champion: int | None, run_id: str
) -> Evidence:
    rows = read_split(dataset, "test")
    found = score(load_workload("digits"), rows.target, run_rows(open_session(file.path), rows.inputs))
    report = Report(
        name="fp32",
        split="test",
        rows=len(rows),
        score=found,
        score_name="accuracy",
        sha256=file.sha256,
        size_bytes=file.size_bytes,
    )
    verdict = Verdict(decision=decision, reasons=(f"accuracy {found:.4f} on {len(rows)} rows",))  # type: ignore[arg-type]
    return Evidence(
        model="digits",
        workload="digits",
        created=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        model_sha256=file.sha256,
        run_id=run_id,
        fingerprint=dataset.fingerprint,
        rows=dataset.rows,
        classes=dataset.classes,
        checkpoint_sha256="c" * 64,
        code=Code(revision="a" * 40, dirty=False),
        config={"gates": Gates().model_dump(), "data": Data().model_dump()},
        libraries={"python": "3.11"},
        machine="a test",
        candidates=(report,),
        picked="fp32",
        proof=Proof(report=report, baseline=report, verdict=verdict),
        champion=champion,
    )


def _upload(registry: Registry, run_id: str, folder: Path, file: OnnxModel, tags: dict[str, str]) -> Version:
    experiment = registry.experiment("digits")
    logged = registry.client.create_logged_model(experiment, name="fp32", source_run_id=run_id)
    version = registry.register(run_id, "digits", str(logged.model_id), folder, file, tags)
    registry.finish_run(run_id)
    return version
