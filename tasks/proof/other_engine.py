"""Candidate → the same file in another engine: from how many rows on it pays there, or why it does not, with its numbers."""

import logging
import time
from collections.abc import Iterable, Sequence

from tasks.config import RunConfig
from tasks.data.dataset import read_split
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import UserError
from tasks.measured import Report, Speed
from tasks.onnx.engines import described, missing, open_in, title
from tasks.onnx.session import Session
from tasks.onnx.sizes import odd_sizes
from tasks.proof.parity import PRECISIONS, numbers_in
from tasks.proof.probe import probe
from tasks.proof.selection import worth_another_engine
from tasks.proof.speed import race
from tasks.records import Candidate, Dataset
from tasks.system.sentences import first_line
from tasks.workloads.catalogue import load_workload
from tasks.workloads.workload import Workload

log = logging.getLogger("slipway")

BATCHES = (64, 16, 4, 1)
"""At which it is looked whether it pays, until it does not: most lose at the first."""

_SECONDS = 0.15
"""By the CPU time of the thread that runs both: a short look must not hang on what else the machine does."""

WORTH_MS = 0.25
"""What fp32's largest batch takes in ONNX Runtime at least, for engines that nobody named: a call of theirs costs 0.05 more."""


def worth(reports: Sequence[Report], config: RunConfig) -> list[str]:
    """The candidates whose files are tried in other engines; none of a small model's, where no engine was named."""
    largest = max((speed.p50_ms for speed in reports[0].speed), default=0.0)
    if config.engines is None and largest < WORTH_MS:
        log.info("no other engine is tried: fp32 takes %.2f ms for its largest batch", largest)
        return []
    return worth_another_engine(reports, config.gates)


def in_engine(reference: str, dataset: Dataset, candidate: Candidate, engine: Engine) -> Candidate:
    """`candidate` in `engine`, with the least rows that surely run faster there than in ONNX Runtime; else refused, saying why.

    A short look before anything else is measured, for most small files lose here; and before that, in a process of its own, for
    compiled code may end what takes the file.
    """
    assert candidate.onnx is not None
    engine = described(engine, PRECISIONS[numbers_in(candidate.onnx)])
    usual = "" if engine.numbers == "bf16" else f"-{engine.numbers}"  # a short name: tables have many of them
    made = candidate.model_copy(update={"name": f"{candidate.name}-{engine.name}{usual}", "engine": engine})
    workload, path = load_workload(reference), candidate.onnx.path
    inputs = read_split(dataset, "validation").inputs
    if (problem := missing(engine) or probe(path, dataset, "validation", 1, engine).problem) is not None:
        return _refused(made, problem)
    try:
        sessions = open_in(engine, path), open_in(ONNX_RUNTIME, path)
        _check(*sessions, workload, dataset)
    except UserError as error:
        return _refused(made, str(error))
    count = len(next(iter(inputs.values())))
    rows, speed = crossing(
        race(*sessions, inputs, batch, _SECONDS, time.thread_time) for batch in BATCHES if batch <= count
    )
    if rows is None:
        measured = f"{speed.throughput_ratio:.2f}× ({speed.interval:.2f}) at batch {speed.batch}"
        return _refused(
            made, f"{title(engine)} is not surely faster than ONNX Runtime on this file: {measured}"
        )
    return made.model_copy(update={"engine": engine.model_copy(update={"rows": rows})})


def crossing(speeds: Iterable[Speed]) -> tuple[int | None, Speed]:
    """From the largest batch down, the smallest at which it is still surely faster, None where it is at none; and the last looked at."""
    rows = None
    for speed in speeds:
        if speed.interval.low <= 1:
            break
        rows = speed.batch
    return rows, speed


def _check(ours: Session, plain: Session, workload: Workload, dataset: Dataset) -> None:
    """Raises UserError when an answer has another form; what its numbers are, parity and score will say."""
    for arrays in odd_sizes(read_split(dataset, "validation"), workload):
        try:
            answers = ours.run(None, arrays)
        except Exception as error:  # the engine's own errors have no common base
            raise UserError(f"it does not run on real rows: {first_line(error)}") from error
        for answer, its in zip(answers, plain.run(None, arrays), strict=True):
            if (answer.dtype, answer.shape) != (its.dtype, its.shape):
                raise UserError(
                    f"it answers with {answer.dtype}{list(answer.shape)} where ONNX Runtime has {its.dtype}{list(its.shape)}"
                )


def _refused(candidate: Candidate, why: str) -> Candidate:
    return candidate.model_copy(update={"onnx": None, "bare": None, "refused": why.rstrip(".")})
