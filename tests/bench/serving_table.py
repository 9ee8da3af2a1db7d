"""The server's figures as tables for docs/benchmarks.md."""

import statistics
from collections.abc import Sequence
from typing import Any

from figures import loaded, sentence, table

PEERS = {
    "mlflow": "`mlflow models serve`",
    "fastapi": "FastAPI + orjson",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "coglet": "coglet (Rust)",
    "nothing": "an ASGI app that does nothing",
}


def paired(left: Sequence[float], right: Sequence[float]) -> float:
    """The median of ratios within a round: what slowed the machine in one round slowed both. 0 when one did not run."""
    return statistics.median(_ratios(left, right)) if left and right else 0.0


def _ratios(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(left, right, strict=True)]


def _times(left: Sequence[float], right: Sequence[float]) -> str:
    """The same for a cell, with its quartiles where there are enough rounds."""
    if not left or not right:
        return ""
    ratios = _ratios(left, right)
    if len(ratios) < 4:
        return f"{statistics.median(ratios):.3g}×"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3g}× ({low:.3g}–{high:.3g})"


def rates(said: dict[str, str], rounds: int, figures: dict[str, Any]) -> list[str]:
    """Ours, how many times our CPU time a request costs the others, and latencies by schedule."""
    rows = []
    for title, found in figures.items():
        ours, turns = found["servers"]["slipway"], found["turns"]
        own = [turn["cpu_us"] for turn in turns["slipway"]]
        cells = [title, f"{ours['rate']:,.0f}", f"{ours['cpu_us']:,.1f}", f"{ours['p99_ms']:.1f}"]
        cells += [_times([turn["cpu_us"] for turn in turns.get(name, [])], own) for name in PEERS]
        for batch in (1, 64):
            cells.append(_times([found["rows"] * cost for cost in found["onnxruntime_turns"][batch]], own))
        rows.append([*cells, loaded(found["around"])])
    heads = ["work", "requests/s", "CPU µs a request", "p99 ms", *PEERS.values()]
    heads += ["bare ONNX Runtime, in batches of 1", "of 64", "load, steal"]
    scheduled = [
        [title, f"{row['share']:.0%}", f"{row['asked_rate']:,.0f}"]
        + [f"{row[f'{name}_ms']:.1f}" for name in ("p50", "p99", "p99.9", "late")]
        for title, found in figures.items()
        for row in found["scheduled"]
    ]
    asked = [
        "work",
        "of its capacity",
        "requests/s",
        "p50 ms",
        "p99",
        "p99.9",
        "the generator was late by (p99)",
    ]
    return [
        f"{sentence(said)} Medians of {rounds} rounds by turns, with quartiles; to the right, how many times our CPU time a request costs the others:",
        "",
        *table(heads, rows),
        "",
        "By schedule (`open_loop.py`): random arrivals, timed from when each was due, whatever became of those before.",
        "",
        *table(asked, scheduled),
    ]
