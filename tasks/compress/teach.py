"""Training after, or instead of, a change of the module: the same loop, with the fp32 model as teacher if asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from tasks.compress.base import Job, TorchMethod

if TYPE_CHECKING:
    from torch import nn


class Taught(TorchMethod):
    """A torch-side method whose module is trained again."""

    epochs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Passes over the training rows, at most; null: half as many as fp32's.",
    )
    lr: float | None = Field(
        None, gt=0, le=10, description="Learning rate at its highest; null: the training's own."
    )
    teacher: bool = Field(True, description="Learn from the fp32 model's answers too.")
    teacher_weight: float = Field(
        0.7, gt=0, le=1, description="Share of the loss that is the distance from the teacher."
    )
    temperature: float = Field(4.0, gt=0, le=100, description="How much the teacher's answers are softened.")

    def passes(self, job: Job) -> int:
        return self.epochs or -(-job.train.epochs // 2)

    def train(self, module: "nn.Module", job: Job, folder: Path) -> "nn.Module":
        """The module with the best weights that these knobs find; resumes, or returns at once when it was done."""
        from tasks.checkpoint import load_weights
        from tasks.data import read_split
        from tasks.model import load_module
        from tasks.train import fit

        fp32 = (
            load_module(job.workload, job.dataset, job.checkpoint, model=job.model) if self.teacher else None
        )
        checkpoint = fit(
            module.train(),
            read_split(job.dataset, "train"),
            read_split(job.dataset, "validation"),
            job.train.model_copy(update={"epochs": self.passes(job), "lr": self.lr or job.train.lr}),
            folder,
            workload=job.workload,
            teacher=fp32,
            temperature=self.temperature,
            teacher_weight=self.teacher_weight,
        )
        module.load_state_dict(load_weights(checkpoint))
        return module.cpu().eval()
