"""What the parts of a checkup make for each other: each thing once, at its first use."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import RunConfig
from tasks.data.dataset import prepare
from tasks.data.schema import load_valid, rows_before, validated
from tasks.errors import UserError
from tasks.records import Candidate, Dataset, OnnxModel
from tasks.workloads.catalogue import load_workload
from tasks.workloads.sources import Stream
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


class Doubt(Exception):
    """Something that does not stop a run."""


@dataclass
class Bench:
    """A workload as `configure` sets it, and what is made of it."""

    reference: str
    configure: Callable[[Workload], RunConfig]
    home: Path
    scratch: Path
    code: Callable[[], str] = str

    @cached_property
    def workload(self) -> Workload:
        return load_workload(self.reference)

    @cached_property
    def run(self) -> RunConfig:
        return self.configure(self.workload)

    @property
    def stream(self) -> Stream | None:
        """The source, when it is one that never is whole in memory."""
        return self.workload.load if isinstance(self.workload.load, Stream) else None

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """All rows; of a stream, those of the first row group that has any."""
        if self.stream is None:
            return load_valid(self.workload, self.run.data)
        self.workload.check_data(self.run.data)
        groups = (rows_before(group, self.workload.time, self.run.data) for group in self.stream.frames())
        first = next((group for group in groups if len(group)), None)
        if first is None:
            raise UserError(f"{self.stream.url} has no rows: check its source, and data.until.")
        return validated(self.workload, first)

    @cached_property
    def dataset(self) -> Dataset:
        return prepare(self.reference, self.run.data, self.home / "datasets", code=self.code())

    @cached_property
    def module(self) -> "nn.Module":
        from tasks.training.module import build_module

        return build_module(
            self.workload, self.dataset, self.run.model, self.run.train.seed if self.run.train else 0
        )

    @cached_property
    def onnx_model(self) -> OnnxModel:
        """With the decision that a run would fit after training."""
        from tasks.onnx.decision import with_decision
        from tasks.onnx.export import export_module

        bare = export_module(self.module, self.workload, self.dataset, self.scratch / "model.onnx", {})
        decided = with_decision(self.workload, self.dataset, Candidate(name="fp32", onnx=bare)).onnx
        assert decided is not None
        return decided
