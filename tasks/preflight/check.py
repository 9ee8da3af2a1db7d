"""A workload looked over in seconds: does each part do what a run will ask of it, and what would be served?"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tasks.config import RunConfig
from tasks.errors import UserError
from tasks.preflight import module, rows
from tasks.preflight.bench import Bench, Doubt
from tasks.records import Dataset, TensorSpec
from tasks.system.frozen import Frozen
from tasks.system.scratch import scratch
from tasks.workloads.workload import Workload

Status = Literal["held", "doubtful", "failed", "skipped"]


class PartResult(Frozen):
    """One part of a workload: whether it holds, in a sentence. Doubtful: a run would go on, and might surprise."""

    name: str
    status: Status
    said: str
    seconds: float = 0.0


class Checkup(Frozen):
    """What `slipway check` found, and what would be served; the weights behind it are untrained."""

    workload: str
    model: str | None = None
    findings: tuple[PartResult, ...]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    request: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(part.status != "failed" for part in self.findings)


def check(
    reference: str, configure: Callable[[Workload], RunConfig], home: Path, code: Callable[[], str] = str
) -> Checkup:
    """Look over a workload as `configure` sets it; split rows are kept under `home`, where a run of this `code` finds them.

    A part that needs another that failed is skipped; all others are looked at, so that one call finds all there is.
    """
    findings: list[PartResult] = []
    with scratch("check") as folder:
        bench = Bench(reference, configure, home, folder, code)
        for name, (need, look) in PARTS.items():
            skipped = PartResult(name=name, status="skipped", said=f"needs {need}")
            findings.append(_look(name, look, bench) if need in ("", *_usable(findings)) else skipped)
        usable = _usable(findings)
        served = bench.onnx_model if "export" in usable else None
        return Checkup(
            workload=reference,
            model=bench.workload.name if "file" in usable else None,
            findings=tuple(findings),
            inputs=bench.dataset.asked if served else (),
            outputs=served.outputs if served else (),
            request=example_request(bench.dataset) if "splits" in usable else None,
        )


def _usable(findings: list[PartResult]) -> set[str]:
    return {part.name for part in findings if part.status in ("held", "doubtful")}


def example_request(dataset: Dataset) -> dict[str, Any]:
    """A body for /invocations with one real row."""
    from tasks.onnx.package import input_example

    return {"inputs": {name: array[:1].tolist() for name, array in input_example(dataset).items()}}


def _look(name: str, look: Callable[[Bench], str], bench: Bench) -> PartResult:
    started = time.monotonic()
    status: Status = "held"
    try:
        said = look(bench)
    except Doubt as doubt:
        status, said = "doubtful", str(doubt)
    except UserError as error:
        status, said = "failed", re.sub(r"^Workload [a-z0-9_-]+: ", "", str(error))
    return PartResult(name=name, status=status, said=said, seconds=round(time.monotonic() - started, 3))


PARTS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "file": ("", rows.look_at_file),
    "rows": ("file", rows.look_at_rows),
    "inputs": ("rows", rows.look_at_inputs),
    "splits": ("inputs", rows.look_at_splits),
    "model": ("splits", module.look_at_model),
    "score": ("model", module.look_at_score),
    "step": ("model", module.look_at_step),
    "export": ("model", module.look_at_export),
    "recipes": ("splits", rows.look_at_recipes),
    "answer": ("export", module.look_at_answer),
}
"""Each part's name, the part that it needs, and what looks at it."""
