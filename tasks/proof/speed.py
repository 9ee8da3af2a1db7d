"""How fast a file is against fp32: both in one process, taking turns, with the server's session options."""

import gzip
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np

from tasks.data.arrays import Arrays
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.measured import Interval, Speed
from tasks.onnx.engines import open_in
from tasks.onnx.session import Session

_FEEDS = 16

_TURN_SECONDS = 0.004

_WARM_SECONDS = 0.02

_LEVEL = 0.95

Clock = Callable[[], float]


def measure(
    candidate: Path,
    baseline: Path,
    inputs: Arrays,
    *,
    engine: Engine = ONNX_RUNTIME,
    batches: tuple[int, ...] = (1, 64),
    seconds: float = 1.5,
) -> tuple[Speed, ...]:
    """Latency and throughput of `candidate` in `engine`, and their ratios to `baseline` in ONNX Runtime on real rows, `seconds` a batch size.

    Interleaved because a machine's speed drifts: each round times both on the same rows, in changing order, and
    the ratio is the median of the rounds' ratios. Raises UserError when a file does not load.
    """
    theirs, same = open_in(ONNX_RUNTIME, baseline), candidate == baseline
    ours = theirs if same and engine.is_always_there else open_in(engine, candidate)
    rows = len(next(iter(inputs.values())))
    return tuple(
        race(theirs if same and batch < engine.rows else ours, theirs, inputs, batch, seconds)
        for batch in batches
        if batch <= rows
    )


def gzipped_size(path: Path) -> int:
    """Bytes of the file as a transfer would compress it: where unstructured pruning shows, and only there."""
    return len(gzip.compress(path.read_bytes(), compresslevel=6, mtime=0))


def _feeds(inputs: Arrays, batch: int) -> list[Arrays]:
    """Different rows for each call: a model whose time depends on its input is not judged by one row."""
    rows = len(next(iter(inputs.values())))
    starts = np.linspace(0, rows - batch, num=min(_FEEDS, rows - batch + 1)).astype(int)
    return [
        {name: np.array(array[start : start + batch]) for name, array in inputs.items()} for start in starts
    ]


def race(
    ours: Session,
    theirs: Session,
    inputs: Arrays,
    batch: int,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> Speed:
    """Both on the same rows, `batch` at once, in turns."""
    feeds = _feeds(inputs, batch)
    slowest = max(_warm(session, feeds) for session in {ours, theirs})
    calls = max(1, min(200, round(_TURN_SECONDS / slowest)))  # long for the clock, short for the machine
    mine: list[float] = []
    ratios: list[float] = []
    supply = cycle(feeds)
    end = time.perf_counter() + (seconds / 2 if ours is theirs else seconds)  # as many turns of its own
    while time.perf_counter() < end or len(ratios) < 5:
        turn = [next(supply) for _ in range(calls)]
        if ours is theirs:
            base = times = _time(ours, turn, clock)
        elif len(ratios) % 2:
            base, times = _time(theirs, turn, clock), _time(ours, turn, clock)
        else:
            times, base = _time(ours, turn, clock), _time(theirs, turn, clock)
        mine += times
        ratios.append(float(np.median(times) / np.median(base)))
    p50, p95 = np.percentile(mine, [50, 95])
    ratio, low, high = (1.0, 1.0, 1.0) if ours is theirs else median_interval(ratios)
    return Speed(
        batch=batch,
        p50_ms=p50 * 1e3,
        p95_ms=p95 * 1e3,
        rows_per_second=batch / p50,
        latency_ratio=ratio,
        throughput_ratio=1 / ratio,
        interval=Interval(low=1 / high, high=1 / low, level=_LEVEL),
        rounds=len(ratios),
    )


def _warm(session: Session, feeds: list[Arrays]) -> float:
    end = time.perf_counter() + _WARM_SECONDS
    times = _time(session, feeds[:2])
    while time.perf_counter() < end:
        times += _time(session, feeds[:1])
    return min(times)


def _time(session: Session, feeds: list[Arrays], clock: Clock = time.perf_counter) -> list[float]:
    times = []
    for feed in feeds:
        start = clock()
        session.run(None, feed)
        times.append(clock() - start)
    return times


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median and its 95% interval, free of any distribution: order statistics, binomial ranks."""
    ordered = np.sort(values)
    half = 0.98 * np.sqrt(len(ordered))
    low = max(0, int(np.floor(len(ordered) / 2 - half)))
    high = min(len(ordered) - 1, int(np.ceil(len(ordered) / 2 + half)))
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])
