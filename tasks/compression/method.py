"""What a compression method is: a recipe's step that acts on a module (torch side) or on an ONNX file (ONNX side)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.config import Gates, Train
from tasks.recipes import Step, TorchStep
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
    train: Train | None
    gates: Gates
    model: str | None
    folder: Path

    @property
    def knobs(self) -> Train:
        """Of the training that a step repeats; what trains nothing has no such step (`Workload.why_untrainable`)."""
        assert self.train is not None
        return self.train

    def load_module(self) -> nn.Module:
        """The trained module; what training froze is frozen."""
        from tasks.training.groups import freeze
        from tasks.training.module import load_module

        module = load_module(self.workload, self.dataset, self.checkpoint, model=self.model)
        freeze(module, self.knobs.groups)
        return module


class Method(Step, ABC):
    """A subclass is also the step whose knobs it has (tasks/recipes.py); heavy imports stay inside `apply`."""

    def problem(self, workload: Workload, rows: int | None) -> str | None:
        """Why these knobs cannot work for the workload and its number of training rows, before anything is trained."""
        return None


class TorchMethod(TorchStep, Method):
    """Acts on the trained module, or makes another, and trains it again: the same loop, with the fp32 model as teacher if asked for."""

    @abstractmethod
    def apply(self, module: nn.Module, context: Context) -> tuple[nn.Module, tuple[str, ...]]:
        """The smaller module, trained, and notes in words.

        The same module, context and knobs give the same result. Raises NotApplicable.
        """

    def passes(self, context: Context) -> int:
        return self.epochs or -(-context.knobs.epochs // 2)

    def train(self, module: nn.Module, context: Context) -> nn.Module:
        """The module with the best weights that these knobs find; resumes, or returns at once when it was done."""
        from tasks.data.dataset import read_split
        from tasks.training.checkpoint import load_weights
        from tasks.training.loss import DistillationLoss
        from tasks.training.trainer import fit

        distillation = None
        if self.teacher:
            fp32 = context.load_module()
            distillation = DistillationLoss(context.workload, fp32, self.temperature, self.teacher_weight)
        knobs = {"epochs": self.passes(context), "lr": self.lr or context.knobs.lr}
        checkpoint = fit(
            module.train(),
            read_split(context.dataset, "train"),
            read_split(context.dataset, "validation"),
            context.knobs.model_copy(update=knobs),
            context.folder / "training",
            workload=replace(
                context.workload, fit=None
            ),  # a training of one's own need not know how to go on from weights
            distillation=distillation,
        )
        module.load_state_dict(load_weights(checkpoint))
        return module.cpu().eval()


class OnnxMethod(Method):
    """Acts on an ONNX file."""

    @abstractmethod
    def apply(self, source: Path, target: Path, context: Context) -> tuple[str, ...]:
        """Write the compressed `source` to `target` (its folder is scratch space) and return notes. Raises NotApplicable."""
