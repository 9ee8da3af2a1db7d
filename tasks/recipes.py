"""Compression recipes as data: each kind of step with its knobs. What a step does is in tasks/compression."""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from tasks.errors import UserError
from tasks.system.frozen import Frozen

BASELINE = "fp32"
"""The name of the candidate that no recipe makes."""


class Step(Frozen):
    """One step of a recipe; a subclass a kind."""

    kind: str = Field(description="The method's name.")


class TorchStep(Step):
    """Changes the trained module, which is then trained again, with the fp32 model as teacher if asked for."""

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


class OnnxStep(Step):
    """Changes the ONNX file."""


class Prune(TorchStep):
    """Removes what weighs least, at once or in rounds, and trains what is left."""

    kind: Literal["prune"] = "prune"
    method: Literal["structured", "unstructured"] = Field(
        "structured", description="Channels, or single weights (l1)."
    )
    ratio: float = Field(
        gt=0, lt=1, description="Share of each layer's channels, or of all weights, that goes."
    )
    multiple_of: int = Field(
        4, ge=1, le=1024, description="Channels kept are a multiple of this: kernels like it."
    )
    rounds: int = Field(1, ge=1, le=100, description="Remove little by little, training after each round.")
    milder: int = Field(
        0,
        ge=0,
        le=10,
        description="Times to try again where the score drops too much: trained as long as fp32, then with 0.7 of the ratio.",
    )


class Distill(TorchStep):
    """Trains one of the workload's `students` from its first weights, with the fp32 model as teacher."""

    kind: Literal["distill"] = "distill"
    student: str = Field(description="Which of the workload's students.")
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="Passes over the training rows, at most; null: as many as fp32's."
    )


class Quantize(OnnxStep):
    """Weights in 8 bits. Dynamic: inputs are scaled as they come; static: by ranges seen on training rows."""

    kind: Literal["quantize"] = "quantize"
    mode: Literal["dynamic", "static"] = Field(
        description="Dynamic suits transformers and LSTMs, static CNNs and MLPs."
    )
    per_channel: bool | None = Field(
        None,
        description="A scale for each output channel; null: if static and there are convolutions or attention.",
    )
    op_types: tuple[str, ...] | Literal["all"] | None = Field(
        None, description="ONNX op types; null: what suits the graph."
    )
    keep_float: tuple[str, ...] = Field((), description="Names of nodes that stay in float.")
    calibration: Literal["minmax", "entropy", "percentile"] = Field(
        "minmax", description="How ranges are chosen (static)."
    )
    percentile: float = Field(
        99.99, gt=50, le=100, description="Share of values within the range (percentile calibration)."
    )
    rows: int | None = Field(
        None, ge=1, description="Training rows for calibration (static); null: 512, or all if fewer."
    )
    reduce_range: bool | None = Field(
        None, description="Weights in 7 bits; null: where this CPU adds 8-bit products in 16 bits."
    )
    repair_seconds: float = Field(
        60.0, ge=0, description="Time to look for nodes to keep in float when the score drops (static)."
    )

    @model_validator(mode="after")
    def _knobs_fit_the_mode(self) -> Self:
        fields = type(self).model_fields
        static_only = ("calibration", "percentile", "rows", "repair_seconds")
        given = [name for name in static_only if getattr(self, name) != fields[name].default]
        if self.mode == "dynamic" and given:
            raise ValueError(f"{', '.join(given)} need mode: static; dynamic quantisation calibrates nothing")
        if "percentile" in given and self.calibration != "percentile":
            raise ValueError("percentile needs calibration: percentile")
        return self


class Float16(OnnxStep):
    """Numbers in 16 bits."""

    kind: Literal["float16"] = "float16"


KINDS: dict[str, type[Step]] = {
    "prune": Prune,
    "distill": Distill,
    "quantize": Quantize,
    "float16": Float16,
}


class Recipe(Frozen):
    """A compression candidate: a name and the steps that make it from the trained model."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="The candidate's name in tables and reports."
    )
    steps: tuple[SerializeAsAny[Step], ...] = Field(min_length=1, description="Applied in this order.")

    @field_validator("steps", mode="before")
    @classmethod
    def _parse_steps(cls, steps: Any) -> Any:
        return parse_steps(steps) if isinstance(steps, list | tuple) else steps

    @field_validator("name")
    @classmethod
    def _keep_the_baselines_name_free(cls, name: str) -> str:
        if name == BASELINE:
            raise ValueError(f"{BASELINE!r} is the name of the baseline; choose another")
        return name


def chosen(choices: Iterable[Any], recipes: Iterable[Recipe], where: str) -> tuple[Any, ...]:
    """Those of `recipes` that are named; what is no name stays as it is. Raises UserError for one that is not there."""
    by_name = {recipe.name: recipe for recipe in recipes}
    for choice in choices:
        if isinstance(choice, str) and choice not in (*by_name, BASELINE):
            raise UserError(f"{where}: there is no recipe {choice!r}; choose among {', '.join(by_name)}.")
    return tuple(by_name[c] if isinstance(c, str) else c for c in choices if c != BASELINE)


def parse_steps(steps: Iterable[Any]) -> tuple[Step, ...]:
    """A recipe's steps as the knobs of their methods. Raises ValueError that names what is wrong and what is valid."""
    parsed = tuple(step if isinstance(step, Step) else _parse_step(step) for step in steps)
    for before, after in zip(parsed, parsed[1:], strict=False):
        if isinstance(before, OnnxStep) and not isinstance(after, OnnxStep):
            raise ValueError(
                f"{after.kind} acts on the torch module: put it before {before.kind}, which acts on the file"
            )
    return parsed


def _parse_step(step: Any) -> Step:
    kind = step.get("kind") if isinstance(step, dict) else None
    if kind not in KINDS:
        raise ValueError(f"unknown compression method {kind!r}: choose one of {', '.join(sorted(KINDS))}")
    knobs = KINDS[kind].model_fields
    if unknown := sorted(set(step) - set(knobs)):
        valid = ", ".join(sorted(set(knobs) - {"kind"})) or "none"
        raise ValueError(f"{kind} has no knob {', '.join(map(repr, unknown))}: its knobs are {valid}")
    return KINDS[kind].model_validate(step)
