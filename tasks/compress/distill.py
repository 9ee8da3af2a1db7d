"""A smaller module of the workload's own, trained on the fp32 model's answers."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.compress.base import Job
from tasks.compress.prune import count
from tasks.compress.teach import Taught

if TYPE_CHECKING:
    from torch import nn

    from tasks.workloads import Workload


class Distill(Taught):
    """Trains one of the workload's `students` from its first weights, with the fp32 model as teacher."""

    kind: Literal["distill"] = "distill"
    student: str = Field(description="Which of the workload's students.")
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="Passes over the training rows, at most; null: as many as fp32's."
    )

    def problem(self, workload: "Workload", rows: int | None) -> str | None:
        if not workload.students:
            return f"workload {workload.name} names no student: add students={{'{self.student}': build_function}} to it"
        if self.student not in workload.students:
            return f"workload {workload.name} has no student {self.student!r}: choose one of {', '.join(workload.students)}"
        return None

    def passes(self, job: Job) -> int:
        return self.epochs or job.train.epochs

    def apply(self, module: "nn.Module", job: Job, folder: Path) -> "tuple[nn.Module, tuple[str, ...]]":
        from tasks.model import build_module

        students = replace(job.workload, model=job.workload.students)
        student = self.train(build_module(students, job.dataset, self.student, job.train.seed), job, folder)
        return student, (
            f"student {self.student}: {count(student):,} parameters, the teacher has {count(module):,}",
        )
