"""What a compression method is: a recipe's step that acts on a module (torch side) or on an ONNX file (ONNX side)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Gates, Train
from tasks.recipes import Step
from tasks.records import Checkpoint, Dataset, OnnxModel

if TYPE_CHECKING:
    from torch import nn

    from tasks.workloads.workload import Workload


class NotApplicable(Exception):
    """A method has nothing to do for this model, or no way to; the message is the reason, in words."""


@dataclass(frozen=True)
class Context:
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
    """A subclass is also the step whose knobs it has (tasks/recipes.py); heavy imports stay inside `apply`."""

    def problem(self, workload: Workload, rows: int | None) -> str | None:
        """Why these knobs cannot work for the workload and its number of training rows, before anything is trained."""
        return None


class TorchMethod(Method):
    """Acts on the trained module."""

    @abstractmethod
    def apply(self, module: nn.Module, context: Context, folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
        """The smaller module, trained, and notes in words; training state goes under `folder`, so a retry resumes.

        The same module, context and knobs give the same result. Raises NotApplicable.
        """


class OnnxMethod(Method):
    """Acts on an ONNX file."""

    @abstractmethod
    def apply(self, source: Path, target: Path, context: Context) -> tuple[str, ...]:
        """Write the compressed `source` to `target` (its folder is scratch space) and return notes. Raises NotApplicable."""
