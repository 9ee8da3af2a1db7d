"""A smaller module of the workload's own, trained on the fp32 model's answers."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.compression.method import Context, TorchMethod
from tasks.compression.pruning import count
from tasks.recipes import Distill

if TYPE_CHECKING:
    from torch import nn

    from tasks.workloads.workload import Workload


class Distillation(Distill, TorchMethod):
    """Trains one of the workload's `students` from its first weights, with the fp32 model as teacher."""

    def problem(self, workload: "Workload", rows: int | None) -> str | None:
        if not workload.students:
            return f"workload {workload.name} names no student: add students={{'{self.student}': build_function}} to it"
        if self.student not in workload.students:
            return f"workload {workload.name} has no student {self.student!r}: choose one of {', '.join(workload.students)}"
        return None

    def passes(self, context: Context) -> int:
        return self.epochs or context.knobs.epochs

    def apply(self, module: "nn.Module", context: Context) -> "tuple[nn.Module, tuple[str, ...]]":
        from tasks.training.module import build_module

        students = replace(context.workload, model=context.workload.students)
        first = build_module(students, context.dataset, self.student, context.knobs.seed)
        student = self.train(first, context)
        sizes = f"{count(student):,} parameters, the teacher has {count(module):,}"
        return student, (f"student {self.student}: {sizes}",)
