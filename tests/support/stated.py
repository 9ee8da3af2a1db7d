"""A version with all that evidence may hold, sealed and with its statements."""

import datetime
import shutil
from pathlib import Path
from unittest.mock import patch

import promotions
from promotions import write_model

from tasks.attestation.bundle import ATTESTATIONS, write_statements
from tasks.bundles.bundle import Origin
from tasks.config import Gates
from tasks.measured import (
    Company,
    Comparison,
    CrossValidation,
    Interval,
    Parity,
    Proof,
    Report,
    ServingCheck,
    Slice,
    SliceDifference,
    Speed,
    Verdict,
)
from tasks.outcome import StepTime
from tasks.proof.evidence import Evidence, read, seal
from tasks.proof.gate import gate
from tasks.proof.provenance import Code
from tasks.records import Material, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import STATEMENTS_TAG
from tasks.system.files import sha256_of

GATES = Gates(min_score=0.9)
SURE = Interval(low=0.96, high=0.99, level=0.95)


def report(sha256: str, name: str, **more: object) -> Report:
    faster = Interval(low=1.9, high=2.2, level=0.95)
    usual = dict(
        name=name, split="test", rows=360, score=0.98, score_name="accuracy", interval=SURE, sha256=sha256, size_bytes=300,
        speed=(Speed(batch=1, p50_ms=0.1, p95_ms=0.2, rows_per_second=1e4, latency_ratio=0.5, throughput_ratio=2.0, interval=faster, rounds=20),),
        parity=(Parity(batch=7, max_abs=1e-5, mean_abs=1e-6, changed=0.0),),
        company=Company(rows=200, max_abs=0.0, changed=0.0),
        slices=(Slice(column="scanner", value="old", rows=120, score=0.95), Slice(column="scanner", value="new", rows=9, score=None)),
    )  # fmt: skip
    return Report.model_validate(usual | more)


def evidence_of(model: Path, *, fp32: bool = False, worse: float = 0.02) -> Evidence:
    """Of a quantised file against a champion that one slice doubts; or, with `fp32`, of the file as it was exported."""
    sha256 = sha256_of(model)
    baseline = report(sha256 if fp32 else "b" * 64, "fp32")
    shipped = baseline if fp32 else report(sha256, "int8")
    width = Interval(low=-0.12, high=0.08, level=0.95)
    slices = (SliceDifference(column="scanner", value="old", rows=120, difference=-0.06, interval=width),)
    compared = Comparison(champion=3, sha256="d" * 64, rows=360, score=0.97, difference=0.01, interval=Interval(low=0.0, high=worse, level=0.95), slices=slices)  # fmt: skip
    trial = ServingCheck(requests=65, rows=380, max_abs=1e-6, single_p50_ms=1.0, single_p95_ms=2.0, batch=64, batch_p50_ms=3.0, peak_bytes=60_000_000, start_seconds=0.9)  # fmt: skip
    cross = CrossValidation(folds=5, rows=1560, score=0.97, score_name="accuracy", interval=SURE, scores=(0.96, 0.98))  # fmt: skip
    verdict: Verdict = gate(shipped, baseline, None, compared, trial, GATES)
    return Evidence(
        model="digits",
        workload="digits",
        created=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        model_sha256=sha256,
        run_id="0" * 32,
        fingerprint="f" * 64,
        rows={"train": 1000, "validation": 200, "test": 360},
        classes=("zero", "one"),
        goals=("classification",),
        checkpoint_sha256="c" * 64,
        materials=(Material(name="base.pt", sha256="9" * 64, licence="Apache-2.0"),),
        code=Code(revision="a" * 40, dirty=False, lock="1" * 64),
        origin=Origin(
            bundle="2" * 64,
            commit="b" * 40,
            clean=True,
            author="Ann <ann@host>",
            repository="https://host/models",
        ),  # fmt: skip
        config={"gates": GATES.model_dump(), "data": {"salt": ""}, "train": {"epochs": 3}, "model": None},
        recipe=None if fp32 else {"name": "int8", "steps": [{"kind": "prune", "teacher": True}]},
        key="3" * 64,
        definitions="4" * 64,
        libraries={"python": "3.11.2", "torch": "2.13.0", "onnxruntime": "1.31.0"},
        machine="Linux x86_64, 2 CPUs",
        candidates=(baseline, shipped),
        losers={} if fp32 else {"fp32": "slower"},
        picked=shipped.name,
        proof=Proof(
            report=shipped,
            baseline=baseline,
            comparison=compared,
            trial=trial,
            cross_validation=cross,
            verdict=verdict,
        ),
        champion=3,
        times=(StepTime(name="train", seconds=4.9, reason="first run", cached=False),),
    )


def sealed(
    folder: Path, evidence: Evidence | None = None, *, stated: bool = True, weight: float = 2.0
) -> Path:
    write_model(folder / "model.onnx", weight)
    evidence = evidence or evidence_of(folder / "model.onnx")
    if stated:
        write_statements(folder, evidence)
    seal(folder, evidence)
    return folder


def register_stated(registry: Registry, model: str, scratch: Path, weight: float) -> Version:
    """As `promotions.register`, with statements beside the evidence, and as the pipeline logs and tags them."""
    plain, logged = promotions.seal_folder, scratch / f"stated-{weight}" / ATTESTATIONS
    logged.parent.mkdir()

    def sealing(folder: Path, *about: object) -> str:
        plain(folder, *about)  # type: ignore[arg-type]
        evidence = read(folder)
        write_statements(folder, evidence)
        shutil.copy(folder / ATTESTATIONS, logged)
        return seal(folder, evidence)

    with patch.object(promotions, "seal_folder", sealing):
        version = promotions.register(registry, model, scratch, weight)
    registry.log_file(version.run_id, logged)
    registry.tag_version(version, {STATEMENTS_TAG: sha256_of(logged)})
    return version
