"""What a step costs where it runs: CPU-seconds, wall time, peak memory, bytes written; and what that means in energy."""

import functools
import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from tasks.measured import Proof
from tasks.outcome import Cost, StepTime
from tasks.records import Metric
from tasks.system.files import write_atomically
from tasks.system.memory import peak_bytes, reset_peak
from tasks.system.processes import cpu_seconds
from tasks.system.processor import model

P = ParamSpec("P")

R = TypeVar("R")

_WATTS_A_GIGABYTE = 0.375
"""Memory: 3 W for 8 GB, as codecarbon counts it."""


@contextmanager
def meter(keep: Callable[[Cost], None]) -> Iterator[None]:
    """Measure this process, all its threads and the children that end meanwhile, and `keep` the cost.

    A step is charged with what else its process does at that time; steps of one run take turns, so that is little.
    """
    reset_peak()
    began, cpu, written = time.monotonic(), cpu_seconds(), _bytes_written()
    try:
        yield
    finally:
        now = _bytes_written()
        keep(
            Cost(
                cpu_seconds=round(cpu_seconds() - cpu, 3),
                wall_seconds=round(time.monotonic() - began, 3),
                peak_bytes=peak_bytes(),
                written_bytes=None if now is None or written is None else now - written,
            )
        )


def metered(path_of: Callable[..., Path]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep what each call of a function costs at `path_of(*arguments)`: it may run in another process than its caller."""

    def bind(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with meter(lambda cost: _keep(path_of(*args, **kwargs), cost)):
                return function(*args, **kwargs)

        return call

    return bind


def _keep(path: Path, cost: Cost) -> None:
    with suppress(OSError):  # a step that did its work on a full disk did its work
        write_atomically(path, cost.model_dump_json().encode())


def take_cost(path: Path) -> Cost | None:
    """What `metered` kept, once; None when it ran where this file is not."""
    try:
        cost = Cost.model_validate_json(path.read_bytes())
        path.unlink()
    except (OSError, ValueError):
        return None
    return cost


def total(times: Iterable[StepTime]) -> Cost | None:
    """All steps together; peak memory is the highest. None when nothing was measured."""
    costs = [step.cost for step in times if step.cost is not None]
    if not costs:
        return None
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    written = [cost.written_bytes for cost in costs if cost.written_bytes is not None]
    return Cost(
        cpu_seconds=round(sum(cost.cpu_seconds for cost in costs), 3),
        wall_seconds=round(sum(cost.wall_seconds for cost in costs), 3),
        peak_bytes=max(peaks, default=None),
        written_bytes=sum(written) if written else None,
    )


def a_thousand_predictions(proof: Proof) -> list[tuple[int, float, float]]:
    """(batch size, CPU-seconds of 1,000 predictions by fp32, and by the pick), from the speed of one thread each."""
    ours = {speed.batch: 1000 / speed.rows_per_second for speed in proof.report.speed}
    theirs = {speed.batch: 1000 / speed.rows_per_second for speed in proof.baseline.speed}
    return [(batch, theirs[batch], ours[batch]) for batch in ours if batch in theirs]


def metrics_of(times: Iterable[StepTime], watts: float | None) -> list[Metric]:
    """The costs of steps that ran, and their total, as a run's metrics: by names that come after all that is about the model."""
    times = [*times]
    now = time.time_ns() // 1_000_000
    named = [(step.name.replace(" ", "-"), step.cost) for step in times] + [("total", total(times))]
    return [
        Metric(f"work/{name}/{key}", float(value), 0, now)
        for name, cost in named
        if cost is not None
        for key, value in {**cost.model_dump(), "watt_hours": watt_hours(cost, watts)}.items()
        if value is not None
    ]


def watt_hours(cost: Cost, watts: float | None) -> float | None:
    """Energy of the processor at `watts` a busy CPU, and of memory while it was held; None when not estimated."""
    if watts is None:
        return None
    memory = (cost.peak_bytes or 0) / 1e9 * _WATTS_A_GIGABYTE * cost.wall_seconds
    return (cost.cpu_seconds * watts + memory) / 3600


@functools.cache
def watts_a_cpu() -> tuple[float | None, str]:
    """The power of one busy CPU by codecarbon's table, offline, and in words how it was estimated."""
    if importlib.util.find_spec("codecarbon") is None:
        return None, "not estimated: pip install 'slipway[cost]'"
    import logging

    from codecarbon.core import cpu

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # its import sets the level itself
    if (named := model()) is not None:  # else py-cpuinfo finds it out, in two processes and a second
        cpu.detect_cpu_model = lambda: named  # type: ignore[attr-defined, assignment]
    cpus, processor = os.cpu_count() or 1, cpu.TDP()  # type: ignore[no-untyped-call]
    if not processor.tdp:
        return None, "not estimated: codecarbon does not know this processor"
    watts = processor.tdp / cpus
    return watts, (
        f"estimated, not measured: {watts:.3g} W a busy CPU (codecarbon's {processor.tdp:.4g} W for {processor.model or 'this processor'} "
        f"over {cpus} CPUs) and {_WATTS_A_GIGABYTE} W a GB of memory held; GPUs, idling and cooling are not in it"
    )


def describe(cost: Cost) -> str:
    """One line for a summary."""
    parts = [f"{cost.cpu_seconds:.1f} CPU-s"]
    if cost.peak_bytes is not None:
        parts.append(f"{cost.peak_bytes / 1e6:,.0f} MB of memory at most")
    if cost.written_bytes is not None:
        parts.append(f"{cost.written_bytes / 1e6:,.1f} MB written")
    watts, how = watts_a_cpu()
    energy = watt_hours(cost, watts)
    return ", ".join([*parts, f"energy {how}" if energy is None else f"about {energy:.2g} Wh"])


def cpu_seconds_of_all() -> float:
    """Of this process since it began, of its children that ended, and of those that still run, with theirs."""
    import psutil

    seconds = cpu_seconds()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            seconds += sum(child.cpu_times()[:4])
    return seconds


def _bytes_written() -> int | None:
    """What this process caused to be written to disk; Linux alone says so."""
    import psutil

    try:
        return int(psutil.Process().io_counters().write_bytes)
    except (AttributeError, OSError, psutil.Error):
        return None
