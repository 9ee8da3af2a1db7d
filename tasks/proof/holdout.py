"""Pick → Proof: on test rows that nothing has seen, against the champion's own bytes, in the real server."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.config import Gates
from tasks.data.arrays import Array, Samples
from tasks.data.copies import copies
from tasks.data.dataset import asked_rows, read_frame, read_split
from tasks.errors import LostError, UserError
from tasks.onnx.session import open_session, run_rows
from tasks.proof.evidence import EVIDENCE, MODEL, Evidence, read
from tasks.proof.gate import gate, with_folds
from tasks.proof.intervals import compare, difference_interval
from tasks.proof.rows import rows_of
from tasks.proof.serving import MOST_ASKED, try_on_server
from tasks.proof.validation import validate
from tasks.records import Candidate, Champion, Comparison, Dataset, Interval, Proof, Report, Verdict
from tasks.system.files import is_the_machines, sha256_of
from tasks.system.sentences import first_line, some
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload


def prove(
    reference: str,
    dataset: Dataset,
    candidate: Candidate,
    fp32: Candidate,
    champion: Champion | None,
    gates: Gates,
    package: Path,
    folder: Path,
) -> Proof:
    """Measure the picked `candidate` and fp32 on the test split, compare, try it in the server, and pass the verdict.

    `package` is the MLflow folder with the candidate's bytes; raw outputs are kept in `folder`.
    """
    workload = load_workload(reference)
    report = validate(reference, dataset, candidate, fp32, folder, "test", gates.confidence)
    baseline = report
    if candidate.name != fp32.name:
        baseline = validate(reference, dataset, fp32, fp32, folder, "test", gates.confidence)
    assert candidate.onnx is not None
    trial = try_on_server(package, workload.name, candidate.onnx, asked_rows(dataset, "test", MOST_ASKED))
    comparison = None
    if champion and report.outputs:
        answered = Answered(dataset, "test", np.load(report.outputs))
        comparison = compare_with(workload, answered, champion, gates)
    against_fp32 = _against_fp32(reference, dataset, report, baseline, gates)
    return Proof(
        report=report,
        baseline=baseline,
        against_fp32=against_fp32,
        comparison=comparison,
        trial=trial,
        verdict=gate(report, baseline, against_fp32, comparison, trial, gates),
    )


@dataclass(frozen=True)
class Answered:
    """A dataset's rows of one split, and a file's raw outputs on them."""

    dataset: Dataset
    split: str
    outputs: Array


def answer_again(evidence: Evidence, model: Path, datasets: Path) -> Answered:
    """The evidence's dataset below `datasets`, and what `model` says of its test rows. Raises StepError when it is gone."""
    dataset = rows_of(evidence, datasets)
    split = evidence.proof.report.split
    return Answered(dataset, split, run_rows(open_session(model), read_split(dataset, split).inputs))


def judge(evidence: Evidence, champion: Champion, answered: Answered) -> Verdict:
    """The gate against another champion than the evidence has, on the evidence's own test rows."""
    gates, proof = Gates.model_validate(evidence.config["gates"]), evidence.proof
    comparison = compare_with(load_workload(evidence.workload), answered, champion, gates)
    verdict = gate(proof.report, proof.baseline, proof.against_fp32, comparison, proof.trial, gates)
    return verdict if proof.cross_validation is None else with_folds(verdict, proof.cross_validation, gates)


def compare_with(workload: Workload, answered: Answered, champion: Champion, gates: Gates) -> Comparison:
    """The answers of one file and the champion's to the same rows; a champion that does not fit them is said to."""
    dataset, split = answered.dataset, answered.split
    samples = read_split(dataset, split)
    try:
        theirs = _champion_outputs(champion, dataset, samples)
        frame, copied = read_frame(dataset, split), copies(samples)
        return compare(workload, samples.target, frame, answered.outputs, theirs, champion, gates, copied)
    except LostError:
        raise
    except UserError as error:  # also of a score that does not take the champion's answers, NaN for one
        return Comparison(
            champion=champion.version,
            sha256=champion.sha256,
            rows=len(samples),
            score=None,
            problem=str(error),
        )


def _against_fp32(
    reference: str, dataset: Dataset, report: Report, baseline: Report, gates: Gates
) -> Interval | None:
    if report.outputs is None or baseline.outputs is None or report.sha256 == baseline.sha256:
        return None
    samples = read_split(dataset, report.split)
    ours, theirs = np.load(report.outputs), np.load(baseline.outputs)
    workload, copied = load_workload(reference), copies(samples)
    return difference_interval(workload, samples.target, ours, theirs, gates.confidence, copied)


def _champion_outputs(champion: Champion, dataset: Dataset, samples: Samples) -> Array:
    """Raises UserError, saying why, when the champion cannot be asked these rows or its answers mean something else."""
    if champion.sha256 and sha256_of(champion.folder / MODEL) != champion.sha256:
        raise UserError(f"its {MODEL} is not the file that was registered, {champion.sha256[:16]}…")
    proved = (champion.folder / EVIDENCE).exists()
    classes = read(champion.folder).classes if proved else dataset.classes
    if classes != dataset.classes:
        known, given = (some(names or ("none",), 5) for names in (classes, dataset.classes))
        raise UserError(f"it knows other classes ({known}) than the data has now ({given})")
    session = open_session(champion.folder / MODEL)
    wanted = {spec.name: spec.dtype for spec in dataset.inputs}
    takes = {value.name: value.type for value in session.get_inputs()}
    if set(takes) != set(wanted):
        raise UserError(f"it takes the inputs {', '.join(sorted(takes))} and not {', '.join(sorted(wanted))}")
    try:
        return run_rows(session, samples.inputs)
    except Exception as error:  # the runtime's own errors have no common base
        if is_the_machines(error):
            raise LostError(
                f"There is no memory to ask champion v{champion.version} ({first_line(error)}): free some and run again."
            ) from error
        raise UserError(f"it does not run on these rows: {first_line(error)}") from error
