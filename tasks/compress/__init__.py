"""Compression methods, one file each: torch-side ones act on the trained module, onnx-side ones on an ONNX file."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tasks.config import Recipe, Step
from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.workloads import Workload

ENTRY_POINTS = "slipway.compress"
"""The group in which a package offers methods of its own: `name = "package.module:Class"`."""


@cache
def methods() -> dict[str, type[Step]]:
    """Every method's class by its kind: ours, and those that installed packages offer."""
    from tasks.compress.distill import Distill
    from tasks.compress.float16 import Float16
    from tasks.compress.prune import Prune
    from tasks.compress.quantize import Quantize

    ours: tuple[type[Step], ...] = (Prune, Distill, Quantize, Float16)
    offered = [point.load() for point in entry_points(group=ENTRY_POINTS)]
    return {method.model_fields["kind"].default: method for method in (*ours, *offered)}


def parse_steps(steps: Iterable[Any]) -> tuple[Step, ...]:
    """A recipe's steps as the knobs of their methods. Raises ValueError that names what is wrong and what is valid."""
    from tasks.compress.base import OnnxMethod

    parsed = tuple(step if isinstance(step, Step) else _parse_step(step) for step in steps)
    for before, after in zip(parsed, parsed[1:], strict=False):
        if isinstance(before, OnnxMethod) and not isinstance(after, OnnxMethod):
            raise ValueError(
                f"{after.kind} acts on the torch module: put it before {before.kind}, which acts on the file"
            )
    return parsed


def check_recipes(recipes: Iterable[Recipe], workload: "Workload", rows: int | None = None) -> None:
    """Raise UserError for a recipe that cannot work for this workload, or on `rows` training rows (None: unknown)."""
    from tasks.compress.base import Method

    for recipe in recipes:
        for step in recipe.steps:
            problem = step.problem(workload, rows) if isinstance(step, Method) else None
            if problem is not None:
                raise UserError(f"Recipe {recipe.name}, {step.kind}: {problem}.")


def _parse_step(step: Any) -> Step:
    kind = step.get("kind") if isinstance(step, dict) else None
    if kind not in methods():
        raise ValueError(f"unknown compression method {kind!r}: choose one of {', '.join(sorted(methods()))}")
    knobs = methods()[kind].model_fields
    if unknown := sorted(set(step) - set(knobs)):
        valid = ", ".join(sorted(set(knobs) - {"kind"})) or "none"
        raise ValueError(f"{kind} has no knob {', '.join(map(repr, unknown))}: its knobs are {valid}")
    return methods()[kind].model_validate(step)
