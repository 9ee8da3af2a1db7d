"""Running a batch: by shape, in bounded pieces, and one by one when something in it fails."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from infra.serving.codecs.outputs import Outputs
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.headings import Heading, Headings, Reply
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import RequestRows, cut

Render = Callable[[Headings, Outputs, int, int], tuple[Heading, bytes]]


class Request:
    """One accepted request."""

    __slots__ = ("render", "reply", "rows", "taken")

    def __init__(self, rows: RequestRows, render: Render, reply: Reply, taken: float) -> None:
        self.rows = rows
        self.render = render
        self.reply = reply
        self.taken = taken


class Done(NamedTuple):
    """What came of some jobs that ran as one: outputs, or why there are none."""

    jobs: Sequence[Request]
    model: LoadedVersion
    outputs: Outputs | Problem
    seconds: float
    rescued_from: LoadedVersion | None = None


def execute(
    model: LoadedVersion, previous: LoadedVersion | None, jobs: Sequence[Request], most: int
) -> list[Done]:
    """Every job run on `model`, those of one shape together; what fails there alone is tried on the version before."""
    done = []
    for group in by_shape(jobs):
        start = time.perf_counter()
        try:
            outputs = run(model, [job.rows for job in group], most)
        except Exception:
            done += [_alone(model, previous, job, most) for job in group]
        else:
            done.append(Done(group, model, outputs, time.perf_counter() - start))
    return done


def by_shape(jobs: Sequence[Request]) -> Collection[Sequence[Request]]:
    """The jobs whose rows can run as one batch."""
    first = jobs[0].rows.key
    if all([job.rows.key == first for job in jobs]):  # as nearly always, and a third of the cost
        return [jobs]
    groups: dict[object, list[Request]] = {}
    for job in jobs:
        groups.setdefault(job.rows.key, []).append(job)
    return groups.values()


def run(model: LoadedVersion, group: Sequence[RequestRows], most: int) -> Outputs:
    """The outputs of rows of one shape; a request longer than a batch is run in pieces, which bounds memory."""
    if len(group) > 1 or group[0].length <= most:
        return model.run(group)
    rows = group[0]
    pieces = [
        model.run([cut(rows, at, min(at + most, rows.length))]).arrays for at in range(0, rows.length, most)
    ]
    return Outputs(model.spec, [np.concatenate(parts) for parts in zip(*pieces, strict=True)])


def _alone(model: LoadedVersion, previous: LoadedVersion | None, job: Request, most: int) -> Done:
    start = time.perf_counter()
    fault: Problem
    try:
        return Done([job], model, run(model, [job.rows], most), time.perf_counter() - start)
    except Problem as problem:
        fault = problem
    except Exception as error:
        fault = _blame(error)
        with suppress(Exception):
            if previous is not None:
                outputs = run(previous, [job.rows], most)
                return Done([job], previous, outputs, time.perf_counter() - start, rescued_from=model)
    return Done([job], model, fault, time.perf_counter() - start)


_UNFIT = Problem(422, "unfit_input", "the model cannot run on these values")

_BROKEN = Problem(500, "model_failed", "the model failed on this request")


def _blame(error: Exception) -> Problem:
    """ONNX Runtime says InvalidArgument when the values are at fault, such as an index that is not in a table."""
    return _UNFIT if type(error).__name__ == "InvalidArgument" else _BROKEN
