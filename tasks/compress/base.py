"""What a compression method is: typed knobs that act on a module (torch side) or on an ONNX file (ONNX side)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Gates, Step, Train
from tasks.records import Checkpoint, Dataset, OnnxModel

if TYPE_CHECKING:
    from torch import nn

    from tasks.workloads import Workload


class Refused(Exception):
    """A method has nothing to do for this model, or no way to; the message is the reason, in words."""


@dataclass(frozen=True)
class Job:
    """What a method may use besides the model it acts on."""

    workload: Workload
    dataset: Dataset
    checkpoint: Checkpoint
    baseline: OnnxModel
    train: Train
    gates: Gates
    model: str | None
    folder: Path


class Method(Step, ABC):
    """A subclass names its `kind` as a literal with a default, and its knobs; heavy imports stay inside `apply`."""

    def problem(self, workload: Workload, rows: int | None) -> str | None:
        """Why these knobs cannot work for the workload and its number of training rows, before anything is trained."""
        return None


class TorchMethod(Method):
    """Acts on the trained module."""

    @abstractmethod
    def apply(self, module: nn.Module, job: Job, folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
        """The smaller module, trained, and notes in words; training state goes under `folder`, so a retry resumes.

        The same module, job and knobs give the same result. Raises Refused.
        """


class OnnxMethod(Method):
    """Acts on an ONNX file."""

    @abstractmethod
    def apply(self, source: Path, target: Path, job: Job) -> tuple[str, ...]:
        """Write the compressed `source` to `target` (its folder is scratch space) and return notes. Raises Refused."""
