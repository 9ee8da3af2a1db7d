"""Which method does what a recipe's step asks for; a method of one's own is one line here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasks.compression.distillation import Distillation
from tasks.compression.float16 import HalfPrecision
from tasks.compression.method import OnnxMethod, TorchMethod
from tasks.compression.pruning import Pruning
from tasks.compression.quantization import Quantization
from tasks.config import RunConfig
from tasks.errors import UserError
from tasks.onnx.engines import tried
from tasks.recipes import Distill, Float16, Prune, Quantize, Recipe, Step
from tasks.training.space import check_search

if TYPE_CHECKING:
    from tasks.workloads.workload import Workload

_METHODS: dict[type[Step], type[TorchMethod] | type[OnnxMethod]] = {
    Prune: Pruning,
    Distill: Distillation,
    Quantize: Quantization,
    Float16: HalfPrecision,
}


def method_of(step: Step) -> TorchMethod | OnnxMethod:
    """What does the step."""
    return _METHODS[type(step)].model_validate(step.model_dump())


def check_run(workload: "Workload", run: RunConfig, rows: int | None = None) -> None:
    """Raise UserError for settings that cannot work for this workload, or on `rows` training rows (None: unknown)."""
    workload.check(run)
    check_search(workload, run)
    tried(run.engines)
    check_recipes(run.recipes, workload, rows)


def check_recipes(recipes: Iterable[Recipe], workload: "Workload", rows: int | None = None) -> None:
    """Raise UserError for a recipe that cannot work for this workload, or on `rows` training rows (None: unknown)."""
    for recipe in recipes:
        for step in recipe.steps:
            problem = method_of(step).problem(workload, rows)
            if problem is not None:
                raise UserError(f"Recipe {recipe.name}, {step.kind}: {problem}.")
