"""Running a batch: by shape, in bounded pieces, and one by one when something in it fails."""

import logging
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from infra.serving.codecs.mlflow_scoring import predictions, predictions_each
from infra.serving.models.version import LoadedVersion
from infra.serving.wire.headings import Heading, Headings, Reply, heading_of
from infra.serving.wire.problems import Problem, Unfit
from infra.serving.wire.tensors import Array, Outputs, RequestRows, all_finite

logger = logging.getLogger("slipway.serving")

Render = Callable[[Headings, Outputs, int, int], tuple[Heading, bytes]]


class About(NamedTuple):
    """What is to be remembered of a request: what it is called, how it came to its lane in a rollout, and what is to look at it then."""

    id: bytes
    key: bytes = b""
    lot: Any = None
    drawn: Any = None
    asked: bool = False
    """For a rollout's new version by its number: nobody's traffic, and no evidence."""


NOTHING = About(b"")
"""Nobody looks on."""


class Request:
    """One accepted request."""

    __slots__ = ("render", "reply", "rows", "taken")

    about = NOTHING

    def __init__(self, rows: RequestRows, render: Render, reply: Reply, taken: float) -> None:
        self.rows = rows
        self.render = render
        self.reply = reply
        self.taken = taken


class ObservedRequest(Request):
    """One that somebody looks at."""

    __slots__ = ("about",)

    def __init__(self, about: About, rows: RequestRows, render: Render, reply: Reply, taken: float) -> None:
        super().__init__(rows, render, reply, taken)
        self.about = about


class Done(NamedTuple):
    """What came of some requests that ran as one: outputs, or why there are none."""

    requests: Sequence[Request]
    loaded: LoadedVersion
    outputs: Outputs | Problem
    seconds: float
    rescued_from: LoadedVersion | None = None


Answer = tuple[int, Heading, bytes]


class Answered(NamedTuple):
    """What came of some requests, and an answer to each of them; `failed` could not be written and are refusals."""

    done: Done
    answers: list[Answer]
    failed: int = 0


def answered(
    loaded: LoadedVersion, previous: LoadedVersion | None, requests: Sequence[Request], most: int
) -> list[Answered]:
    """The requests run and answered; whatever happens, each has an answer."""
    try:
        runs = execute(loaded, previous, requests, most)
    except Exception as error:
        logger.error("a batch of %s failed", loaded.release.model, exc_info=error)
        runs = [Done(requests, loaded, _BROKEN, 0.0)]
    return [rendered(done) for done in runs]


def rendered(done: Done) -> Answered:
    outputs, headings = done.outputs, done.loaded.headings
    if isinstance(outputs, Problem):
        refusal = _refusal(outputs, headings)
        return Answered(done, [refusal] * len(done.requests))
    alike = len(done.requests) == len(outputs.arrays[0]) > 1  # a row each, as nearly always where many wait
    if alike and all([request.render is predictions for request in done.requests]):
        with suppress(Exception):  # what cannot be written is found below, and blamed on its own request
            if (bodies := predictions_each(outputs)) is not None:
                return Answered(done, [(200, headings.json, body) for body in bodies])
    answers: list[Answer] = []
    start = failed = 0
    for request in done.requests:
        stop = start + request.rows.length
        try:
            heading, body = request.render(headings, outputs, start, stop)
            answers.append((200, heading, body))
        except Exception as error:
            logger.error("an answer of %s cannot be written", headings.model, exc_info=error)
            answers.append(_refusal(_BROKEN, headings))
            failed += 1
        start = stop
    return Answered(done, answers, failed)


def _refusal(problem: Problem, headings: Headings) -> Answer:
    return problem.status, heading_of(problem, headings), problem.body


def execute(
    loaded: LoadedVersion, previous: LoadedVersion | None, requests: Sequence[Request], most: int
) -> list[Done]:
    """Every request run on `loaded`, those of one shape together; what fails there alone is tried on the version before."""
    done: list[Done] = []
    for group in by_shape(requests):
        start = time.perf_counter()
        try:
            outputs = run(loaded, [request.rows for request in group], most)
        except Unfit as unfit:
            refused, others = _sifted(loaded, group, unfit)
            done += refused
            if others:
                done += execute(loaded, previous, others, most)
            continue
        except Exception:
            done += [_alone(loaded, previous, request, most) for request in group]
            continue
        seconds = time.perf_counter() - start
        if all_finite(outputs.arrays):
            done.append(Done(group, loaded, outputs, seconds))
            continue
        finite, others = _parted(group, outputs)
        if finite:
            arrays = [np.concatenate(parts) for parts in zip(*finite.values(), strict=True)]
            done.append(Done([*finite], loaded, Outputs(loaded.spec, arrays), seconds))
        done += [_alone(loaded, previous, request, most) for request in others]
    return done


def _sifted(
    loaded: LoadedVersion, group: Sequence[Request], unfit: Unfit
) -> tuple[list[Done], list[Request]]:
    """The requests whose values cannot be read, refused, and the others, which run together as if those had not come."""
    refused, others, start = [], [], 0
    for request in group:
        stop = start + request.rows.length
        if (problem := unfit.within(start, stop)) is not None:
            refused.append(Done([request], loaded, problem, 0.0))
        else:
            others.append(request)
        start = stop
    return refused, others


def _parted(group: Sequence[Request], outputs: Outputs) -> tuple[dict[Request, list[Array]], list[Request]]:
    """The requests whose every number is finite, with these; and the others, for an answer with NaN is a failed one."""
    finite, others, at = {}, [], 0
    for request in group:
        arrays = [array[at : at + request.rows.length] for array in outputs.arrays]
        at += request.rows.length
        if all_finite(arrays):
            finite[request] = arrays
        else:
            others.append(request)
    return finite, others


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
    feeds, length = loaded.assemble(group), group[0].length
    pieces = [
        loaded.answer({name: array[at : at + most] for name, array in feeds.items()}).arrays
        for at in range(0, length, most)
    ]
    return Outputs(loaded.spec, [np.concatenate(parts) for parts in zip(*pieces, strict=True)])


def _alone(loaded: LoadedVersion, previous: LoadedVersion | None, request: Request, most: int) -> Done:
    start = time.perf_counter()
    outputs: Outputs | Problem
    try:
        outputs = _finite(loaded, request, most)
    except Problem as problem:
        outputs = problem
    except Exception as error:
        outputs = _blame(error)
        with suppress(Exception):
            if previous is not None:
                rescue = _finite(previous, request, most)
                return Done([request], previous, rescue, time.perf_counter() - start, rescued_from=loaded)
    return Done([request], loaded, outputs, time.perf_counter() - start)


def _finite(loaded: LoadedVersion, request: Request, most: int) -> Outputs:
    """Raises _NotFinite, besides what `run` does, for an answer that is not all finite numbers."""
    outputs = run(loaded, [request.rows], most)
    if not all_finite(outputs.arrays):
        loaded.numbers.not_finite += 1
        raise _NotFinite
    return outputs


class _NotFinite(Exception):
    """NaN or infinity where a client expects a number."""


_UNFIT = Problem(
    422,
    "unfit_input",
    "the model cannot run on these values: look for an index that its tables do not have, or sizes that do not fit together",
)

_BROKEN = Problem(500, "model_failed", "the model failed on this request")

_NO_NUMBER = Problem(500, "answer_not_finite", "the model's answer has NaN or infinity in it")


_OUT_OF_RANGE = re.compile(r"out of (data )?bounds|out of range", re.IGNORECASE)


def _blame(error: Exception) -> Problem:
    """ONNX Runtime says InvalidArgument when the values are at fault, and of an index outside of a table, by some operators, Fail."""
    if isinstance(error, _NotFinite):
        return _NO_NUMBER
    unfit = type(error).__name__ == "InvalidArgument" or _OUT_OF_RANGE.search(str(error)) is not None
    return _UNFIT if unfit else _BROKEN
