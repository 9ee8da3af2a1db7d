"""Running a batch: by shape, in bounded pieces, and one by one when something in it fails."""

import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from infra.serving.models.version import LoadedVersion
from infra.serving.wire.headings import Heading, Headings, Reply
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Outputs, RequestRows, cut

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
    """What came of some requests that ran as one: outputs, or why there are none."""

    requests: Sequence[Request]
    loaded: LoadedVersion
    outputs: Outputs | Problem
    seconds: float
    rescued_from: LoadedVersion | None = None


def execute(
    loaded: LoadedVersion, previous: LoadedVersion | None, requests: Sequence[Request], most: int
) -> list[Done]:
    """Every request run on `loaded`, those of one shape together; what fails there alone is tried on the version before."""
    done = []
    for group in by_shape(requests):
        start = time.perf_counter()
        try:
            outputs = run(loaded, [request.rows for request in group], most)
        except Exception:
            done += [_alone(loaded, previous, request, most) for request in group]
        else:
            done.append(Done(group, loaded, outputs, time.perf_counter() - start))
    return done


def by_shape(requests: Sequence[Request]) -> Collection[Sequence[Request]]:
    """The requests whose rows can run as one batch."""
    first = requests[0].rows.key
    if all([request.rows.key == first for request in requests]):  # as nearly always, and a third of the cost
        return [requests]
    groups: dict[object, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.rows.key, []).append(request)
    return groups.values()


def run(loaded: LoadedVersion, group: Sequence[RequestRows], most: int) -> Outputs:
    """The outputs of rows of one shape; a request longer than a batch is run in pieces, which bounds memory."""
    if len(group) > 1 or group[0].length <= most:
        return loaded.run(group)
    rows = group[0]
    pieces = [
        loaded.run([cut(rows, at, min(at + most, rows.length))]).arrays for at in range(0, rows.length, most)
    ]
    return Outputs(loaded.spec, [np.concatenate(parts) for parts in zip(*pieces, strict=True)])


def _alone(loaded: LoadedVersion, previous: LoadedVersion | None, request: Request, most: int) -> Done:
    start = time.perf_counter()
    outputs: Outputs | Problem
    try:
        outputs = run(loaded, [request.rows], most)
    except Problem as problem:
        outputs = problem
    except Exception as error:
        outputs = _blame(error)
        with suppress(Exception):
            if previous is not None:
                rescue = run(previous, [request.rows], most)
                return Done([request], previous, rescue, time.perf_counter() - start, rescued_from=loaded)
    return Done([request], loaded, outputs, time.perf_counter() - start)


_UNFIT = Problem(
    422,
    "unfit_input",
    "the model cannot run on these values: look for an index that its tables do not have, or sizes that do not fit together",
)

_BROKEN = Problem(500, "model_failed", "the model failed on this request")


_OUT_OF_RANGE = re.compile(r"out of (data )?bounds|out of range", re.IGNORECASE)


def _blame(error: Exception) -> Problem:
    """ONNX Runtime says InvalidArgument when the values are at fault, and of an index outside of a table, by some operators, Fail."""
    unfit = type(error).__name__ == "InvalidArgument" or _OUT_OF_RANGE.search(str(error)) is not None
    return _UNFIT if unfit else _BROKEN
