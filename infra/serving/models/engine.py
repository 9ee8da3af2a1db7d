"""What a version runs in here: the engine that it was proved in, or ONNX Runtime where this machine does not keep what that promised."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from infra.serving.models.pace import Clock, fastest
from infra.serving.wire.tensors import Array
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import UserError
from tasks.onnx.engines import installed_here, missing, open_in, plain_of, title
from tasks.onnx.session import Session
from tasks.system.sentences import first_line

SECONDS = 0.1
"""How long each side of the comparison runs, at most."""

KEPT = 0.5
"""The share of a promise that is enough: another machine of the kind, and whatever else it does."""

LEAST = 0.9
"""What is less is slower than ONNX Runtime, whatever was promised; between are measurements that differ."""

BATCH_SECONDS = 0.5
"""What a batch of the comparison, which takes three of them at least, may take in ONNX Runtime."""

WARM_SECONDS = 1.0

Feeds = Callable[[int], dict[str, Array]]
"""So many rows, as the graph takes them."""


class Running(NamedTuple):
    """A session, what it is in, and why that is not what the version was proved in."""

    session: Session
    engine: Engine
    instead: str | None = None

    @property
    def plain(self) -> "Running":
        return Running(plain_of(self.session), installed_here(ONNX_RUNTIME), self.instead)

    def failing(self, error: Exception) -> "Running":
        """ONNX Runtime, for the engine does not do what is done here before a version serves."""
        return self._replace(instead=f"{title(self.engine)} fails here: {first_line(error)}").plain


def open_proved(engine: Engine, content: bytes, threads: int, why: str | None = None) -> Running:
    """In the engine if it can be had; `why`: it is known that it cannot. Raises UserError when not even ONNX Runtime loads the file."""
    why = None if engine.is_always_there else why or missing(engine)
    if why is None:
        try:
            return Running(open_in(engine, content, threads), installed_here(engine))
        except Exception as error:  # of a package that does not load, anything
            if engine.is_always_there:
                raise
            why = str(error) if isinstance(error, UserError) else first_line(error)
    return Running(
        open_in(ONNX_RUNTIME, content, threads), installed_here(ONNX_RUNTIME), why and why.rstrip(".")
    )


def never_used(engine: Engine, batch: int | None) -> str | None:
    """Why an engine would run nothing, where `batch`, which is the user's own limit, is below its fewest rows."""
    return f"{title(engine)} runs nothing at --batch {batch}" if batch and batch < engine.rows else None


def held_to(running: Running, promise: Mapping[int, float], feeds: Feeds, clock: Clock) -> Running:
    """`running`, or ONNX Runtime where the engine is slower, or less than half as far ahead of it as was proved. Raises what the engine raises.

    At the largest batch that was promised, and in none that ONNX Runtime runs; at fewer rows, of which nothing was promised, where so
    many take long.
    """
    if running.engine.is_always_there or not promise:
        return running
    plain, least = running.plain.session, running.engine.rows
    plain.run(None, feeds(1))  # the first takes longer
    row = fastest(lambda _: plain.run(None, feeds(1)), 1, 0.0, clock)
    batch = max(least, min(max([least, *promise]), int(BATCH_SECONDS / max(row, 1e-9))))
    rows = feeds(batch)
    running.session.run(None, rows)  # which makes its kernels
    ours = fastest(lambda _: running.session.run(None, rows), batch, SECONDS, clock)
    theirs = fastest(lambda _: plain.run(None, rows), batch, SECONDS, clock)
    asked = max(KEPT * promise.get(batch, 0.0), LEAST)
    if (ratio := theirs / max(ours, 1e-9)) >= asked:
        return running
    return running._replace(
        instead=f"{title(running.engine)} is {ratio:.2f}× as fast as ONNX Runtime here at batch {batch}, and at least {asked:.2f}× is asked for"
    ).plain


def warm(running: Running, feeds: Feeds, most: int) -> None:
    """Run every size of a batch once, as far as a second goes: an engine makes its kernels when it first sees a shape."""
    if running.engine.is_always_there:
        return
    end = time.perf_counter() + WARM_SECONDS
    for count in range(running.engine.rows, most + 1):
        running.session.run(None, feeds(count))
        if time.perf_counter() > end:
            return
