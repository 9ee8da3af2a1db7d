"""One version of a model in memory: its session, its tensors, its counts."""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # noqa: F401  not where it is first used: a worker imports while it waits for its job

from infra.serving.codecs.mlflow_scoring import Invocations
from infra.serving.codecs.open_inference import Inference
from infra.serving.codecs.values import NUMBERS, Values, values_of
from infra.serving.errors import NotNow, Unservable
from infra.serving.ipc.messages import Release
from infra.serving.models.counters import Numbers
from infra.serving.models.engine import Running, held_to, never_used, open_proved, warm
from infra.serving.models.pace import BATCH, Aside, Clock, Pace, measure
from infra.serving.wire.headings import Headings
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import (
    Array,
    Outputs,
    RequestRows,
    Spec,
    all_finite,
    assemble,
    cut,
    rows_of,
    tensor_of,
)
from tasks.codecs.decoding import CodecError, bound_decoder
from tasks.errors import UserError
from tasks.onnx.engines import ran_in, title
from tasks.onnx.session import Session
from tasks.system.sentences import first_line

logger = logging.getLogger("slipway.serving")

Feeds = Callable[[Sequence[RequestRows]], dict[str, Array]]

EXAMPLE = "serving_input_example.json"


@dataclass(eq=False)
class LoadedVersion:
    """A version that can answer."""

    release: Release
    running: Running
    spec: Spec
    pace: Pace
    invocations: Invocations
    inference: Inference
    headings: Headings
    example: bytes | None
    numbers: Numbers

    @property
    def engines(self) -> dict[str, Any]:
        """What runs it, what it was proved in, and why it is run by another, in words; and how many rows each engine has run, where it has two."""
        running, proved = self.running, self.release.engine
        said = {"engine": title(running.engine), "proved": title(proved), "instead": running.instead}
        return {**said, "rows": self.numbers.engines}

    def is_of(self, release: Release) -> bool:
        return (self.release.version, self.release.digest) == (release.version, release.digest)

    assemble: Feeds
    """What the graph takes, of rows of one key."""
    noted: Feeds
    """What the traffic record has of such rows, by name."""

    def run(self, group: Sequence[RequestRows]) -> Outputs:
        """The outputs of rows of one key. Raises what ONNX Runtime raises, and Problem for values that cannot be used."""
        return self.answer(self.assemble(group))

    def answer(self, feeds: dict[str, Array]) -> Outputs:
        """The same of the graph's own tensors."""
        if not all_finite(list(feeds.values())):
            raise Problem(422, "not_finite", "a number is not finite in the model's own type")
        arrays = self.running.session.run(None, feeds)
        count = len(next(iter(feeds.values())))
        for array in arrays:
            if len(array) != count:  # or else rows would be handed to the wrong requests
                raise ValueError(f"{len(array)} rows came out for {count}")
        return Outputs(self.spec, arrays)


def spec_of(session: Session) -> Spec:
    """The tensors of a session; Unservable when they cannot be served in batches."""
    try:
        spec = Spec(tuple(map(tensor_of, session.get_inputs())), tuple(map(tensor_of, session.get_outputs())))
    except ValueError as error:
        raise Unservable(str(error)) from None
    for tensor in (*spec.inputs, *spec.outputs):
        if not tensor.shape or tensor.shape[0] != -1:
            raise Unservable(
                f"axis 0 of {tensor.name!r} is {list(tensor.shape)[:1]}, it has to be the dynamic batch axis"
            )
    if not spec.inputs or not spec.outputs:
        raise Unservable("the model has no input or no output")
    return spec


def load_version(release: Release, threads: int, batch: int | None, max_rows: int) -> LoadedVersion:
    """Read, check the digest, build, try the input example, warm and time; Unservable says which of these failed."""
    content = (release.folder / "model.onnx").read_bytes()
    if hashlib.sha256(content).hexdigest() != release.digest:
        raise NotNow("digest: model.onnx in the cache is not the file that was verified")
    try:
        why = release.instead or never_used(release.engine, batch)
        running = open_proved(release.engine, content, threads, why)
    except UserError as error:
        raise Unservable(str(error)) from None
    graph = spec_of(running.session)
    values = values_in(graph, running.session, release.folder)
    spec, taking = (graph, NUMBERS) if values is None else (values.asked, values.taking)
    plain = partial(assemble, spec)
    loaded = LoadedVersion(
        release,
        running,
        spec,
        Pace(0, 0, batch or BATCH),
        Invocations(spec, max_rows, taking),
        Inference(spec, max_rows, release.model, taking),
        Headings(release.model, release.version, release.digest),
        example_of(release.folder),
        Numbers(release.model, release.version),
        plain if values is None else values.assemble,
        plain if values is None else values.noted,
    )
    # CPU time where one thread does all of it: what else the machine does while this starts is not the model's pace
    clock = time.thread_time if threads == 1 else time.perf_counter
    _settle(loaded, batch, clock)
    loaded.numbers.engines = ran_in(loaded.running.session)
    loaded.numbers.engines.clear()  # of what was tried until now
    if values is not None:
        loaded.pace = Aside(*astuple(loaded.pace))
    return loaded


def _settle(loaded: LoadedVersion, batch: int | None, clock: Clock) -> None:
    """In the engine that the version was proved in, if that does everything here and keeps its promise; else in ONNX Runtime."""
    release, rows = loaded.release, example_rows(loaded)
    try:
        _try_out(loaded, rows, batch, clock)
    except Exception as error:  # an engine's own errors have no common base
        if loaded.running.engine.is_always_there:
            raise
        loaded.running = loaded.running.failing(error)
        _try_out(loaded, rows, batch, clock)
    if (why := loaded.running.instead) is not None:
        logger.warning("%s version %s runs in ONNX Runtime: %s", release.model, release.version, why)


def _try_out(loaded: LoadedVersion, rows: RequestRows, batch: int | None, clock: Clock) -> None:
    row = cut(rows, 0, 1)

    def feeds(count: int) -> dict[str, Array]:
        return loaded.assemble([row] * count)

    loaded.running = held_to(loaded.running, loaded.release.promise, feeds, clock)
    check_probe(loaded, rows)
    pace = measure(lambda count: loaded.run([row] * count), batch, clock)
    least = loaded.running.engine.rows
    loaded.pace = replace(pace, batch=max(pace.batch, least), least=least)
    warm(loaded.running, feeds, loaded.pace.batch)


def values_in(graph: Spec, session: Session, folder: Path) -> Values | None:
    """How the values in a request become tensors, by the codec that the graph names. Unservable when that cannot be run here."""
    try:
        return values_of(graph, bound_decoder(folder, session.get_modelmeta().custom_metadata_map))
    except (CodecError, ValueError) as error:
        raise Unservable(f"codec: {error}") from None


def example_of(folder: Path) -> bytes | None:
    path = folder / EXAMPLE
    return path.read_bytes() if path.is_file() else None


def example_rows(loaded: LoadedVersion) -> RequestRows:
    """The input example, read as a request would be; rows of zeros when there is none."""
    if loaded.example is None:
        return zeros(loaded.spec)
    try:
        return loaded.invocations.read(loaded.example)
    except Problem as problem:
        raise Unservable(f"its input example fails: {problem.message}") from None


def zeros(spec: Spec) -> RequestRows:
    if any(tensor.wire == "s" for tensor in spec.inputs):
        raise Unservable("it takes text or pictures, and has no input example to try it with")
    shapes = [[1 if size == -1 else size for size in tensor.shape] for tensor in spec.inputs]
    arrays = [np.zeros(shape, tensor.dtype) for shape, tensor in zip(shapes, spec.inputs, strict=True)]
    return rows_of(spec, arrays, most=1)


def check_probe(loaded: LoadedVersion, rows: RequestRows) -> None:
    """The example must give finite outputs whose axis 0 is the batch."""
    try:
        outputs = loaded.run([rows])
    except Exception as error:
        raise Unservable(f"its input example fails: {first_line(error)}") from None
    for tensor, array in zip(loaded.spec.outputs, outputs.arrays, strict=True):
        if array.shape[:1] != (rows.length,) or array.ndim != len(tensor.shape):
            raise Unservable(
                f"output {tensor.name!r} has {list(array.shape)} for {rows.length} rows, and says {list(tensor.shape)}"
            )
    if not all_finite(outputs.arrays):
        raise Unservable("its input example gives numbers that are not finite")
