"""A workload looked over in seconds: does each part do what a run will ask of it, and what would be served?"""

import inspect
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.config import Run
from tasks.data import load_valid, prepare, read_split, to_inputs
from tasks.errors import UserError
from tasks.fingerprint import fingerprint
from tasks.records import Dataset, OnnxModel, Record, TensorSpec
from tasks.stream import SPLITS
from tasks.workloads import Workload, load_workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import nn

    Array = np.ndarray[Any, Any]

Status = Literal["held", "doubtful", "failed", "skipped"]
_FEW, _SOME = 7, 200


class Finding(Record):
    """One part of a workload: whether it holds, in a sentence. Doubtful: a run would go on, and might surprise."""

    name: str
    status: Status
    said: str
    seconds: float = 0.0


class Checkup(Record):
    """What `slipway check` found, and what would be served; the weights behind it are untrained."""

    workload: str
    model: str | None = None
    findings: tuple[Finding, ...]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    request: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(one.status != "failed" for one in self.findings)


class _Doubt(Exception):
    """Something that does not stop a run."""


@dataclass
class _Bench:
    """What the parts make for each other, made at its first use."""

    reference: str
    configure: Callable[[Workload], Run]
    home: Path
    scratch: Path

    @cached_property
    def workload(self) -> Workload:
        return load_workload(self.reference)

    @cached_property
    def run(self) -> Run:
        return self.configure(self.workload)

    @cached_property
    def frame(self) -> "pd.DataFrame":
        return load_valid(self.workload, self.run.data)

    @cached_property
    def dataset(self) -> Dataset:
        return prepare(self.reference, self.run.data, self.home / "datasets")

    @cached_property
    def module(self) -> "nn.Module":
        from tasks.model import build_module

        return build_module(self.workload, self.dataset, self.run.model, self.run.train.seed)

    @cached_property
    def onnx_model(self) -> OnnxModel:
        from tasks.export import export_module

        return export_module(self.module, self.workload, self.dataset, self.scratch / "model.onnx", {})


def check(reference: str, configure: Callable[[Workload], Run], home: Path) -> Checkup:
    """Look over a workload as `configure` sets it; split rows are kept under `home`, where a run finds them.

    A part that needs another that failed is skipped; all others are looked at, so that one call finds all there is.
    """
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="slipway-check-") as scratch:
        bench = _Bench(reference, configure, home, Path(scratch))
        for name, (needs, look) in _PARTS.items():
            missing = [
                one.name for one in findings if one.name in needs and one.status in ("failed", "skipped")
            ]
            findings.append(
                Finding(name=name, status="skipped", said=f"needs {missing[0]}")
                if missing
                else _look(name, look, bench)
            )
        held = {one.name for one in findings if one.status in ("held", "doubtful")}
        served = bench.onnx_model if "export" in held else None
        return Checkup(
            workload=reference,
            model=bench.workload.name if "file" in held else None,
            findings=tuple(findings),
            inputs=served.inputs if served else (),
            outputs=served.outputs if served else (),
            request=example_request(bench.dataset) if "splits" in held else None,
        )


def example_request(dataset: Dataset) -> dict[str, Any]:
    """A body for /invocations with one real row."""
    from tasks.package import input_example

    return {"inputs": {name: array[:1].tolist() for name, array in input_example(dataset).items()}}


def _look(name: str, look: Callable[[_Bench], str], bench: _Bench) -> Finding:
    started = time.monotonic()
    status: Status = "held"
    try:
        said = look(bench)
    except _Doubt as doubt:
        status, said = "doubtful", str(doubt)
    except UserError as error:
        status, said = "failed", re.sub(r"^Workload [a-z0-9_-]+: ", "", str(error))
    return Finding(name=name, status=status, said=said, seconds=round(time.monotonic() - started, 3))


def _file(bench: _Bench) -> str:
    workload = bench.workload
    bench.workload.check(bench.run)
    return f"workload {workload.name}: {workload.kind} of {workload.target!r}"


def _rows(bench: _Bench) -> str:
    frame, workload = bench.frame, bench.workload
    said = f"{len(frame):,} rows of {len(frame.columns)} columns hold the schema"
    if workload.kind == "regression":
        return f"{said}; {workload.target!r} is {frame[workload.target].min():g} to {frame[workload.target].max():g}"
    shares = frame[workload.target].value_counts(normalize=True)
    most = f"the most frequent of {len(shares)} classes is {shares.index[0]} ({shares.iloc[0]:.0%})"
    return f"{said}; {most}"


def _splits(bench: _Bench) -> str:
    dataset = bench.dataset
    if dataset.fingerprint != fingerprint(bench.frame):
        raise _Doubt(
            "load() gave other rows when it was called again: unless the source grew meanwhile, fix its seed and order, "
            "or no run is ever unchanged."
        )
    if dataset.classes is not None and (lost := list(_lost_classes(dataset))):
        raise _Doubt(f"{'; '.join(lost)}: more rows, or another data.salt, would score them.")
    return ", ".join(f"{dataset.rows[split]:,} {split}" for split in SPLITS)


def _lost_classes(dataset: Dataset) -> Iterator[str]:
    import numpy as np

    assert dataset.classes is not None
    for split in SPLITS:
        there = set(np.unique(read_split(dataset, split).target).tolist())
        if absent := [name for code, name in enumerate(dataset.classes) if code not in there]:
            yield f"no {split} row is {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}"


def _inputs(bench: _Bench) -> str:
    """A request comes alone and a training row among others: both have to become the same tensors."""
    import numpy as np

    workload, frame = bench.workload, bench.frame
    among = to_inputs(workload, frame.head(_SOME))
    for size in (1, min(_FEW, len(frame))):
        for name, array in to_inputs(workload, frame.head(size)).items():
            one, other = _common(array, among[name][:size])
            if array.dtype != other.dtype or not np.allclose(one, other, rtol=1e-6, equal_nan=True):
                raise UserError(
                    f"inputs()[{name!r}] gives the first {'row' if size == 1 else f'{size} rows'} other values alone than "
                    "among others: fit scales and vocabularies in the model, on the training inputs that it can ask for."
                )
    return ", ".join(describe(_spec(workload, name, array)) for name, array in among.items())


def _spec(workload: Workload, name: str, array: "Array") -> TensorSpec:
    axes = {0: "batch", **workload.dynamic.get(name, {})}
    shape = tuple(axes.get(axis, size) for axis, size in enumerate(array.shape))
    return TensorSpec(name=name, dtype=str(array.dtype), shape=shape)


def _common(one: "Array", other: "Array") -> "tuple[Array, Array]":
    """The part that both have: padding differs with the longest row of a batch."""
    if one.ndim != other.ndim:
        raise UserError(
            f"inputs() gives arrays of shape {list(one.shape)} and {list(other.shape)} for the same rows."
        )
    part = tuple(slice(0, min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    return one[part], other[part]


def _model(bench: _Bench) -> str:
    from tasks.model import predict

    module = bench.module
    learned = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    takes = ", ".join(inspect.signature(module.forward).parameters)
    said = f"{type(module).__name__}({takes}) with {learned:,} parameters"
    said += f" and {frozen:,} frozen ones" if frozen else ""
    few = {name: array[:2] for name, array in read_split(bench.dataset, "train").inputs.items()}
    classes, width = bench.dataset.classes, predict(module, few)[0].size
    if classes is not None and width > len(classes):
        raise _Doubt(
            f"{said}; it gives {width} outputs for {len(classes)} classes ({', '.join(classes[:5])}): what is beyond them is never learned."
        )
    return said


def _step(bench: _Bench) -> str:
    """One batch forward and backward, as training does it."""
    from tasks.tryout import try_a_batch

    tried = try_a_batch(bench.module, bench.workload, bench.dataset, bench.run.train)
    said = (
        f"a batch of {tried.rows} forward and backward in {tried.seconds * 1e3:.3g} ms, loss {tried.loss:.3g}"
    )
    if tried.without_gradient:
        names = ", ".join(tried.without_gradient[:3])
        more = len(tried.without_gradient) - 3
        raise _Doubt(
            f"{said}; no gradient reaches {names}{f' and {more} more' if more > 0 else ''}: freeze or use them."
        )
    return f"{said}; {bench.run.train.epochs} epochs take about {_duration(tried.seconds * tried.steps)}"


def _export(bench: _Bench) -> str:
    made = bench.onnx_model
    return f"{made.size_bytes / 1e3:,.0f} kB of ONNX by {made.exporter}, opset {made.opset}, agrees with torch at odd sizes"


def _recipes(bench: _Bench) -> str:
    bench.workload.check(bench.run, bench.dataset.rows["train"])
    names = [recipe.name for recipe in bench.run.recipes]
    return f"fp32 and {', '.join(names)} would be tried" if names else "fp32 alone would be tried"


def _answer(bench: _Bench) -> str:
    """The exported bytes, with the server's session, on the request that is shown; the server puts rows of many in a batch."""
    import numpy as np

    from tasks.session import open_session

    session = open_session(bench.onnx_model.path)
    rows = read_split(bench.dataset, "validation").inputs
    names = [value.name for value in session.get_outputs()]

    def ask(count: int) -> "dict[str, Array]":
        return dict(
            zip(names, session.run(None, {n: np.array(a[:count]) for n, a in rows.items()}), strict=True)
        )

    alone, among = ask(1), ask(_FEW)
    for name, array in alone.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"the answer to a real row has NaN or infinity in {name}: look for a division or a log of 0."
            )
        if not np.allclose(array[0], among[name][0], rtol=1e-3, atol=1e-4):
            raise UserError(
                f"a row's {name} changes with the rows that come with it: take means over a row, not over the batch."
            )
    return "a request with one real row gets " + ", ".join(f"{n} {list(a.shape)}" for n, a in alone.items())


def describe(spec: TensorSpec) -> str:
    """`image float32[batch, 1, 8, 8]`."""
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


_PARTS: dict[str, tuple[tuple[str, ...], Callable[[_Bench], str]]] = {
    "file": ((), _file),
    "rows": (("file",), _rows),
    "inputs": (("rows",), _inputs),
    "splits": (("inputs",), _splits),
    "model": (("splits",), _model),
    "step": (("model",), _step),
    "export": (("model",), _export),
    "recipes": (("splits",), _recipes),
    "answer": (("export",), _answer),
}
