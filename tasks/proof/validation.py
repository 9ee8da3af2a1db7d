"""OnnxModel → Report: loads, agrees with torch, scores, and what it costs, measured on the file that would ship."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from tasks.data.arrays import Arrays, load_arrays, save_arrays
from tasks.data.copies import copies
from tasks.data.dataset import asked_rows, read_frame, read_split
from tasks.engines import Engine
from tasks.errors import UserError
from tasks.goals.bootstrap import interval
from tasks.measured import Parity, Report, Speed
from tasks.onnx.engines import described, open_in
from tasks.onnx.session import Session, run_named
from tasks.proof.company import COMPANY_ROWS, measure_company
from tasks.proof.edges import problems_at_edges, problems_with_odd_values
from tasks.proof.intervals import details, other_scores, score_slices
from tasks.proof.parity import PRECISIONS, Numbers, measure_lengths, measure_parity, numbers_in, problems_of
from tasks.proof.probe import probe
from tasks.proof.speed import gzipped_size, measure
from tasks.records import Candidate, Dataset, Fitted, OnnxModel
from tasks.system.files import is_the_machines, sha256_of
from tasks.system.sentences import first_line
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import decisions, marks, score_name, scores_of
from tasks.workloads.workload import Workload

_LARGEST_BATCH = 512

MEASURE_SECONDS = 0.5
"""Of a batch size in the proof; among candidates three fifths, for from one pair of sessions to the next a ratio varies by as much after either."""


def validate(
    reference: str,
    dataset: Dataset,
    candidate: Candidate,
    fp32: Candidate,
    folder: Path,
    split: Literal["validation", "test"] = "validation",
    confidence: float = 0.95,
) -> Report:
    """Everything that can be said of a candidate's file on one split; its raw outputs are kept in `folder`.

    A file that does not load, or computes something else, gets a report that says so in `problems`. Raises UserError
    for a candidate without a file, and for a file whose digest is not the recorded one.
    """
    workload = load_workload(reference)
    onnx_model, baseline = _file_of(candidate), _file_of(fp32)
    _check_unaltered(onnx_model)
    report = Report(
        name=candidate.name,
        split=split,
        rows=dataset.rows[split],
        score=0.0,
        score_name=score_name(workload),
        sha256=onnx_model.sha256,
        engine=candidate.engine,
        size_bytes=onnx_model.size_bytes,
        gzipped_bytes=gzipped_size(onnx_model.path),
        findings=onnx_model.findings,
        fitted=candidate.fitted,
    )
    if (problem := _check(onnx_model)) is not None:
        return report.model_copy(update={"problems": (problem,)})
    numbers = numbers_in(onnx_model)
    engine = described(candidate.engine, PRECISIONS[numbers])
    report = report.model_copy(update={"engine": engine})
    fresh = probe(onnx_model.path, dataset, split, _LARGEST_BATCH, engine)
    if fresh.problem is not None:
        return report.model_copy(update={"problems": (fresh.problem,)})
    samples = read_split(dataset, split)
    speed, promise = _speed(onnx_model.path, baseline.path, engine, samples.inputs, split == "test")
    session, fitted = open_in(engine, onnx_model.path), candidate.fitted or dataset.fitted
    parity, problems = _parity(
        workload, dataset, onnx_model, baseline, fitted, session, _held_as(numbers, engine)
    )
    scored = _score(workload, dataset, session, split, confidence, folder / f"{candidate.name}.{split}.npz")
    return report.model_copy(
        update={
            "load_seconds": fresh.load_seconds,
            "peak_bytes": fresh.peak_bytes,
            "behaviour": fresh.behaviour,
            "speed": speed,
            "promise": promise,
            "parity": parity,
            "company": measure_company(
                session,
                samples.inputs,
                workload,
                fitted,
                asked_rows(dataset, split, COMPANY_ROWS) if dataset.codec else None,
                samples.targets,
            ),
            "problems": (*problems, *_not_finite(scored["outputs"])),
            **scored,
        }
    )


def _file_of(candidate: Candidate) -> OnnxModel:
    if candidate.onnx is None:
        raise UserError(
            f"Candidate {candidate.name} has no file to validate: {candidate.refused or 'it was not made'}."
        )
    return candidate.onnx


def _check_unaltered(onnx_model: OnnxModel) -> None:
    if (digest := sha256_of(onnx_model.path)) != onnx_model.sha256:
        raise UserError(
            f"{onnx_model.path} was altered since it was made: SHA-256 {digest[:16]}… and not {onnx_model.sha256[:16]}…."
        )


def _speed(
    path: Path, fp32: Path, engine: Engine, inputs: Arrays, proof: bool
) -> tuple[tuple[Speed, ...], tuple[Speed, ...]]:
    """Against fp32 in ONNX Runtime; and, of a proof in another engine, against ONNX Runtime on the same file: what it promises."""
    seconds = MEASURE_SECONDS if proof else 0.6 * MEASURE_SECONDS
    speed = measure(path, fp32, inputs, engine=engine, seconds=seconds)
    if engine.is_always_there or not proof:
        return speed, ()
    alone = speed if path == fp32 else measure(path, path, inputs, engine=engine, seconds=seconds)
    return speed, alone


def _held_as(numbers: Numbers, engine: Engine) -> Numbers:
    """In bf16 a file of float32 keeps no more digits than one of float16 does."""
    return "half" if (numbers, engine.numbers) == ("float", "bf16") else numbers


def _check(onnx_model: OnnxModel) -> str | None:
    """ONNX's own checker, by path: it sees what the runtime forgives."""
    try:
        onnx.checker.check_model(str(onnx_model.path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, OSError) as error:
        if is_the_machines(error):
            raise
        return f"the ONNX checker refuses it: {first_line(error)}"
    return None


def _parity(
    workload: Workload,
    dataset: Dataset,
    onnx_model: OnnxModel,
    baseline: OnnxModel,
    fitted: tuple[Fitted, ...],
    session: Session,
    numbers: Numbers,
) -> tuple[tuple[Parity, ...], tuple[str, ...]]:
    path = onnx_model.reference or baseline.reference
    if path is None:
        return (), (
            f"{onnx_model.path.name}: torch's outputs were not kept, so there is nothing to compare with",
        )
    expected = load_arrays(path)
    samples = read_split(dataset, "validation")
    inputs, targets = samples.inputs, samples.targets
    parity = measure_parity(session, inputs, expected, workload, fitted, targets)
    edges = (*problems_at_edges(session, dataset), *problems_with_odd_values(session, dataset))
    if (lengths := onnx_model.lengths or baseline.lengths) is not None:
        parity += measure_lengths(session, inputs, lengths, workload, fitted, targets)
    elif any(workload.axes.values()):
        unkept = f"{onnx_model.path.name}: torch's outputs at other lengths were not kept, so its lengths cannot be tried"
        return parity, (unkept, *edges)
    reference = [answer["numbers"] for answer in decisions(workload, expected, fitted)]
    return parity, (*problems_of(parity, numbers, reference), *edges)


def _score(
    workload: Workload, dataset: Dataset, session: Session, split: str, confidence: float, path: Path
) -> dict[str, Any]:
    samples = read_split(dataset, split)
    outputs = run_named(session, samples.inputs, workload.served)
    save_arrays(path, outputs)
    finite = all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f")
    try:
        made = marks(workload, samples.truth, outputs, dataset.fitted)
        total = scores_of(workload, made)[0]
    except UserError:
        if finite:
            raise
        total = float("nan")
    if not finite and not np.isfinite(
        total
    ):  # which is the file's problem: it must not end the run of all the others
        return {"outputs": path}
    if total != total:
        raise UserError(
            f"Workload {workload.name}: the score is not defined on the {len(samples)} {split} rows; use more rows."
        )
    copied = copies(samples)
    return {
        "score": total,
        "interval": interval(made[0], confidence, copied),
        "others": other_scores(workload, made, confidence, copied),
        "details": details(workload, samples, outputs, confidence, copied, dataset.fitted),
        "slices": score_slices(workload, made[0], read_frame(dataset, split)),
        "outputs": path,
    }


def _not_finite(path: Path) -> Iterator[str]:
    numbers = [array for array in load_arrays(path).values() if array.dtype.kind == "f"]
    sound = np.all([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in numbers], axis=0)
    if bad := int((~sound).sum()):
        yield f"{bad} of {len(sound)} real rows get an answer that is not a finite number"
