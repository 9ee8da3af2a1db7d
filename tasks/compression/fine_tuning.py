"""Training after, or instead of, a change of the module: the same loop, with the fp32 model as teacher if asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.compression.method import Context, TorchMethod
from tasks.recipes import TorchStep

if TYPE_CHECKING:
    from torch import nn


class FineTuning(TorchStep, TorchMethod):
    """A torch-side method whose module is trained again."""

    def passes(self, context: Context) -> int:
        return self.epochs or -(-context.train.epochs // 2)

    def train(self, module: "nn.Module", context: Context, folder: Path) -> "nn.Module":
        """The module with the best weights that these knobs find; resumes, or returns at once when it was done."""
        from tasks.data.dataset import read_split
        from tasks.training.checkpoint import load_weights
        from tasks.training.module import load_module
        from tasks.training.trainer import fit

        fp32 = (
            load_module(context.workload, context.dataset, context.checkpoint, model=context.model)
            if self.teacher
            else None
        )
        checkpoint = fit(
            module.train(),
            read_split(context.dataset, "train"),
            read_split(context.dataset, "validation"),
            context.train.model_copy(
                update={"epochs": self.passes(context), "lr": self.lr or context.train.lr}
            ),
            folder,
            workload=context.workload,
            teacher=fp32,
            temperature=self.temperature,
            teacher_weight=self.teacher_weight,
        )
        module.load_state_dict(load_weights(checkpoint))
        return module.cpu().eval()
