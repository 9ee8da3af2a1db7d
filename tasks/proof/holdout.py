"""Pick → Proof: on test rows that nothing has seen, against the champion's own bytes, in the real server."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.config import Gates
from tasks.data.arrays import Arrays, Samples, load_arrays
from tasks.data.copies import copies
from tasks.data.dataset import asked_rows, read_frame, read_split
from tasks.engines import ONNX_RUNTIME
from tasks.errors import LostError, UserError
from tasks.goals.bootstrap import difference
from tasks.measured import (
    Champion,
    Comparison,
    Interval,
    OtherDifference,
    Proof,
    Report,
    ServingCheck,
    Verdict,
)
from tasks.onnx.engines import missing, open_in
from tasks.onnx.session import run_named
from tasks.proof.evidence import EVIDENCE, MODEL, Evidence, read
from tasks.proof.gate import gate, with_folds
from tasks.proof.intervals import compare, other_differences
from tasks.proof.rows import rows_of
from tasks.proof.serving import MOST_ASKED, try_on_server
from tasks.proof.signature import signature_change
from tasks.proof.validation import validate
from tasks.records import Candidate, Dataset, Fitted
from tasks.system.files import is_the_machines, sha256_of
from tasks.system.sentences import first_line, some
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import marks
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
    in_onnxruntime = its_against_fp32 = None
    if not candidate.engine.is_always_there and report.sha256 != baseline.sha256:
        plain = candidate.model_copy(
            update={"engine": ONNX_RUNTIME, "name": f"{candidate.name}-in-onnxruntime"}
        )
        in_onnxruntime = validate(reference, dataset, plain, fp32, folder, "test", gates.confidence)
        its_against_fp32, _ = _against_fp32(reference, dataset, in_onnxruntime, baseline, gates)
    assert candidate.onnx is not None
    moves = report.company.max_abs if report.company else 0.0
    asked = asked_rows(dataset, "test", MOST_ASKED)
    trial = try_on_server(package, workload.name, candidate.onnx.sha256, asked, moves, candidate.engine)
    comparison = None
    if champion and report.outputs:
        answered = Answered(dataset, "test", load_arrays(report.outputs), package)
        comparison = compare_with(workload, answered, champion, gates)
    against_fp32, others = _against_fp32(reference, dataset, report, baseline, gates)
    return Proof(
        report=report,
        baseline=baseline,
        against_fp32=against_fp32,
        others_against_fp32=others,
        comparison=comparison,
        trial=trial,
        in_onnxruntime=in_onnxruntime,
        in_onnxruntime_against_fp32=its_against_fp32,
        verdict=gate(
            report, baseline, against_fp32, comparison, trial, gates, others, in_onnxruntime, its_against_fp32
        ),
    )


@dataclass(frozen=True)
class Answered:
    """A dataset's rows of one split, and a file's outputs on them by name."""

    dataset: Dataset
    split: str
    outputs: Arrays
    package: Path | None = None
    """Its MLflow folder."""


def answer_again(evidence: Evidence, model: Path, datasets: Path) -> Answered:
    """The evidence's dataset below `datasets`, and what `model` says of its test rows. Raises StepError when it is gone."""
    dataset = rows_of(evidence, datasets)
    split = evidence.proof.report.split
    names = load_workload(evidence.workload).served
    session = open_in(proved_here(evidence).engine, model)
    outputs = run_named(session, read_split(dataset, split).inputs, names)
    return Answered(dataset, split, outputs, model.parent)


def answers(workload: Workload, version: Champion, dataset: Dataset, samples: Samples) -> Arrays:
    """What a version says of rows, by the data's words. Raises UserError when it cannot be asked, or means something else."""
    return _champion_outputs(workload, version, dataset, samples, _learned(version, dataset))


def proved_here(evidence: Evidence) -> Report:
    """What was proved of the file in what a server on this machine would run it in: its engine, or ONNX Runtime where that cannot be had."""
    proof = evidence.proof
    if proof.report.engine.is_always_there or missing(proof.report.engine) is None:
        return proof.report
    return proof.in_onnxruntime or proof.baseline


def judge(evidence: Evidence, champion: Champion, answered: Answered) -> Verdict:
    """The gate against another champion than the evidence has, on the evidence's own test rows."""
    gates = Gates.model_validate(evidence.config["gates"])
    return judge_again(evidence, compare_with(load_workload(evidence.workload), answered, champion, gates))


def judge_again(
    evidence: Evidence, comparison: Comparison | None, trial: ServingCheck | None = None
) -> Verdict:
    """The gate on what the evidence has, with another comparison, and with a sea trial of now where there was one."""
    gates, proof = Gates.model_validate(evidence.config["gates"]), evidence.proof
    others, trial = proof.others_against_fp32, trial or proof.trial
    plain = proof.in_onnxruntime, proof.in_onnxruntime_against_fp32
    verdict = gate(proof.report, proof.baseline, proof.against_fp32, comparison, trial, gates, others, *plain)
    return verdict if proof.cross_validation is None else with_folds(verdict, proof.cross_validation, gates)


def compare_with(workload: Workload, answered: Answered, champion: Champion, gates: Gates) -> Comparison:
    """The answers of one file and the champion's to the same rows; a champion that does not fit them is said to."""
    change = answered.package and signature_change(answered.package, champion.folder)
    return _compare(workload, answered, champion, gates).model_copy(update={"new_signature": change})


def _compare(workload: Workload, answered: Answered, champion: Champion, gates: Gates) -> Comparison:
    dataset, split = answered.dataset, answered.split
    samples = read_split(dataset, split)
    try:
        learned = _learned(champion, dataset)
        theirs = _champion_outputs(workload, champion, dataset, samples, learned)
        frame, copied = read_frame(dataset, split), copies(samples)
        fitted = dataset.fitted
        compared = compare(
            workload, samples.truth, frame, answered.outputs, theirs, champion, gates, copied, fitted
        )
        return compared.model_copy(update={"classes": _known_to_one(learned, fitted)})
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
) -> tuple[Interval | None, tuple[OtherDifference, ...]]:
    if report.outputs is None or baseline.outputs is None or report.outputs == baseline.outputs:
        return None, ()
    samples = read_split(dataset, report.split)
    workload, copied = load_workload(reference), copies(samples)
    ours, theirs = (
        marks(workload, samples.truth, load_arrays(path), dataset.fitted)
        for path in (report.outputs, baseline.outputs)
    )
    others = other_differences(workload, ours, theirs, gates.confidence, copied)
    return difference(ours[0], theirs[0], gates.confidence, copied), others


def _learned(champion: Champion, dataset: Dataset) -> tuple[Fitted, ...]:
    """What each goal of the champion has learned, by its evidence; without any, what the data has now."""
    if champion.sha256 and sha256_of(champion.folder / MODEL) != champion.sha256:
        raise UserError(f"its {MODEL} is not the file that was registered, {champion.sha256[:16]}…")
    if not (champion.folder / EVIDENCE).exists():
        return dataset.fitted
    evidence = read(champion.folder)
    return evidence.proof.report.fitted or (Fitted(classes=evidence.classes), *dataset.fitted[1:])


def _known_to_one(theirs: Sequence[Fitted], ours: Sequence[Fitted]) -> str | None:
    """The classes that only the champion or only the new version knows, in words that follow on the champion."""
    known, wanted = ({word for fitted in both for word in fitted.classes or ()} for both in (theirs, ours))
    new, gone = (some(sorted(words), 5) for words in (wanted - known, known - wanted))
    parts = [f"it does not know {new}, whose rows it gets wrong"] if new else []
    return "; ".join([*parts, *([f"only it knows {gone}"] if gone else [])]) or None


def _champion_outputs(
    workload: Workload, champion: Champion, dataset: Dataset, samples: Samples, learned: Sequence[Fitted]
) -> Arrays:
    """Raises UserError, saying why, when the champion cannot be asked these rows or its answers mean something else."""
    for goal, known, wanted in zip(workload.goals, learned, dataset.fitted, strict=False):
        if not goal.answer.comparable(known, wanted):
            raise _other_classes(known, wanted)
    outputs = _ask(workload, champion, dataset, samples)
    aligned: Arrays = {}  # by our words: a class that it does not know, it gets wrong
    for goal, known, wanted in zip(workload.goals, learned, dataset.fitted, strict=False):
        names = goal.served if goal.served[0] in outputs else goal.outputs
        if names != goal.served and known.classes != wanted.classes:  # logits have no words beside them
            raise _other_classes(known, wanted)
        answers = goal.answer.aligned([outputs[name] for name in names], known, wanted)
        aligned |= dict(zip(names, answers, strict=True))
    return aligned


def _other_classes(theirs: Fitted, ours: Fitted) -> UserError:
    known, given = (some(fitted.classes or ("none",), 5) for fitted in (theirs, ours))
    return UserError(f"it knows other classes ({known}) than the data has now ({given})")


def _ask(workload: Workload, champion: Champion, dataset: Dataset, samples: Samples) -> Arrays:
    proved = (champion.folder / EVIDENCE).exists()
    engine = proved_here(read(champion.folder)).engine if proved else ONNX_RUNTIME
    session = open_in(engine, champion.folder / MODEL)
    wanted = {spec.name: spec.dtype for spec in dataset.inputs}
    takes = {value.name: value.type for value in session.get_inputs()}
    if set(takes) != set(wanted):
        raise UserError(f"it takes the inputs {', '.join(sorted(takes))} and not {', '.join(sorted(wanted))}")
    gives = [value.name for value in session.get_outputs()]
    names = next((n for n in (workload.served, workload.outputs) if {*n} <= {*gives}), workload.outputs)
    gives = [*names] if {*names} <= {*gives} else gives[: len(names)]
    try:
        outputs = run_named(session, samples.inputs, gives)
        return dict(zip(names, outputs.values(), strict=True))
    except Exception as error:  # the runtime's own errors have no common base
        if is_the_machines(error):
            raise LostError(
                f"There is no memory to ask champion v{champion.version} ({first_line(error)}): free some and run again."
            ) from error
        raise UserError(f"it does not run on these rows: {first_line(error)}") from error
