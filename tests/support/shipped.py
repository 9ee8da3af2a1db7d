"""Workloads on their way to a folder that is served, without registry and proof: trained for a moment, exported, packed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkout import SUPPORT

from tasks.config import Train
from tasks.data.asked import AskedRows
from tasks.data.dataset import asked_rows, prepare
from tasks.onnx.export import export
from tasks.onnx.package import build_folder
from tasks.onnx.session import open_session, run_named
from tasks.records import Candidate, Dataset
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload

GOALS = ("both", "labels", "spread", "tags", "order", "again", "pairs")
"""One of every kind of goal in goal_workloads; `both` is classes and two numbers."""

CODED = ("told", "shown")
"""Those of coded_workloads that answer in words."""


@dataclass(frozen=True)
class Shipped:
    """What ships of a workload, and some of its rows."""

    dataset: Dataset
    fp32: Candidate
    package: Path

    def asked(self, rows: int) -> AskedRows:
        return asked_rows(self.dataset, "test", rows)

    def answers(self, rows: int) -> dict[str, Any]:
        """What plain ONNX Runtime says of the file that ships, by output."""
        assert self.fp32.onnx is not None
        names = tuple(spec.name for spec in self.fp32.onnx.outputs)
        return run_named(open_session(self.fp32.onnx.path), self.asked(rows).feed(slice(0, rows)), names)


def ship(name: str, folder: Path) -> Shipped:
    """One of GOALS or CODED."""
    file = "coded_workloads.py" if name in CODED else "goal_workloads.py"
    reference = f"{SUPPORT / file}:{name}"
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, folder / "datasets")
    checkpoint = train(reference, dataset, Train(epochs=3, threads=1), folder / "training")
    fp32 = export(reference, dataset, checkpoint, folder / "export" / "model.onnx", metadata={})
    assert fp32.onnx is not None
    build_folder(fp32.onnx, dataset, folder / "package")
    return Shipped(dataset, fp32, folder / "package")
