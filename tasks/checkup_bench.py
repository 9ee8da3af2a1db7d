"""What the parts of a checkup make for each other: each thing once, at its first use."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Run
from tasks.data import load_valid, prepare
from tasks.records import Dataset, OnnxModel
from tasks.workloads import Workload, load_workload

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


class Doubt(Exception):
    """Something that does not stop a run."""


@dataclass
class Bench:
    """A workload as `configure` sets it, and what is made of it."""

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
