"""Frozen in: everything a run can be told, with its bounds. Imports nothing heavy: forms and `--help` are made from it."""

import datetime
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from tasks.engines import ALWAYS
from tasks.recipes import Recipe
from tasks.system.frozen import Frozen


class Data(Frozen):
    """Which rows are used and how they are split."""

    validation: float = Field(
        0.15, gt=0, lt=0.5, description="Share of the rows that choose: early stopping, picks."
    )
    test: float = Field(0.2, gt=0, lt=0.5, description="Share of the rows that judge; read once, at the end.")
    salt: str = Field("", description="Changes which rows fall into which split.")
    until: datetime.date | None = Field(
        None, description="Use only rows before this day (workloads with a time column)."
    )


class Group(Frozen):
    """Weights that learn at a rate of their own."""

    weights: str = Field(min_length=1, description="Names as in named_parameters(); * stands for anything.")
    share: float = Field(ge=0, le=100, description="Of the learning rate; 0 freezes them.")


class Train(Frozen):
    """How the weights are found."""

    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training rows, at most.")
    batch_size: int = Field(64, ge=1, le=65_536, description="Rows a step.")
    optimizer: Literal["adam", "adamw", "sgd", "momentum", "adagrad"] = Field(
        "adamw", description="The update rule."
    )
    lr: float = Field(1e-3, gt=0, le=10, description="Learning rate at its highest.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decay of the weights a step.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="How the learning rate falls."
    )
    warmup: float = Field(
        0.05, ge=0, le=0.5, description="Share of the steps in which the learning rate rises."
    )
    clip_norm: float | None = Field(
        1.0, gt=0, description="Gradients are scaled down to this norm; null: never."
    )
    patience: int | None = Field(
        5, ge=1, description="Epochs without a better validation score before stopping; null: never."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of weights, order and dropout.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where to compute; auto takes a GPU if there is one."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp32."
    )
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads for torch; null: torch's own choice."
    )
    groups: tuple[Group, ...] = Field(
        (),
        description="Shares of the learning rate by names of weights, the first that fits, such as `{base.*: 0.1, '*.bias': 2}`; 0 "
        "freezes, and batch normalisation that is frozen keeps its statistics.",
    )
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay a step of a moving average of the weights, which is judged and ships instead of them; null: none.",
    )
    accumulate: int = Field(
        1, ge=1, le=4096, description="Batches that make one step together, as one of that many rows would."
    )
    workers: int = Field(
        1,
        ge=1,
        le=4096,
        description="Processes of a Ray cluster that share each batch; 1: this process alone.",
    )
    checkpoint_seconds: float = Field(
        10.0, ge=0, description="Seconds between checkpoints within an epoch; 0: every step."
    )

    @field_validator("groups", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        """Written as a mapping; kept as a list, for a database may put a mapping's names in another order."""
        if isinstance(value, Mapping):
            return tuple({"weights": name, "share": share} for name, share in value.items())
        return value


class Gates(Frozen):
    """What a model must hold to be promoted."""

    min_score: float | None = Field(
        None, description="Lowest score on the test split, in the score's own unit."
    )
    max_score_drop: float = Field(
        0.005,
        ge=0,
        description="A compressed candidate may lose this much of fp32's score, in its unit: 0.005 is half a point of accuracy.",
    )
    margin: float = Field(
        0.01,
        ge=0,
        description="How much worse than the champion still counts as not worse, in the score's unit: 0.01 is a point of accuracy.",
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Level of the intervals that the verdict rests on."
    )
    min_slice_rows: int = Field(100, ge=1, description="Slices with fewer rows are reported but not gated.")
    slice_margin: float = Field(0.05, ge=0, description="The same as margin, for each slice.")
    max_latency_ratio: float = Field(
        1.0,
        gt=0,
        description="A compressed candidate's latency against fp32's; 1: no slower, 0.5: twice as fast.",
    )
    prefer: Literal["speed", "size", "score", "balanced"] = Field(
        "balanced",
        description="What the pick among the candidates that no other beats is for; balanced: speed and size count alike.",
    )
    max_size_mb: float | None = Field(None, gt=0, description="Largest model file, in 10^6 bytes.")
    max_company_change: float = Field(
        0.01, ge=0, le=1, description="Share of rows that may be answered otherwise beside other rows."
    )
    folds: int = Field(
        0, ge=0, le=50, description="Also train anew on so many folds of all rows; 0: not. For few rows."
    )


_ELSEWHERE = ("device", "threads", "workers", "checkpoint_seconds")
"""Knobs of a training that say where and how, and not what comes of it."""

_RANGES = ("linear", "log")


class Search(Frozen):
    """How long to look: for better recipes than those that are given, and for better knobs of the training itself."""

    trials: int = Field(0, ge=0, le=10_000, description="Recipes to try beyond the given ones; 0: none.")
    seconds: float | None = Field(
        None, gt=0, description="Start no further recipe's trial after this time; null: no limit."
    )
    space: dict[str, tuple[Any, ...]] = Field(
        {},
        description="Knobs of the training to search: values to choose among, or the ends of a range and linear or log, such as "
        "{train.lr: [0.0001, 0.01, log], train.batch_size: [32, 64], model: [small, wide]}; {}: none.",
    )
    trainings: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Trainings to try in space, in all: with a larger number the next run goes on; null: 20, or what the time allows.",
    )
    training_minutes: float | None = Field(
        None, gt=0, description="Start no further training after so many minutes of them; null: no limit."
    )
    training_cpu_seconds: float | None = Field(
        None, gt=0, description="Start no further training after so many CPU-seconds of them; null: no limit."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of what is tried.")

    @field_validator("space", mode="before")
    @classmethod
    def _of_knobs(cls, value: Any) -> Any:
        """Each knob's values as the knob takes them, in the order of names: a database may put a mapping's names in another."""
        if not isinstance(value, Mapping):
            return value
        named = {str(name): values for name, values in value.items()}
        return {name: _values(name, named[name]) for name in sorted(named)}


def _values(name: str, given: Any) -> tuple[Any, ...]:
    """What a knob of a search may be, as JSON has it. Raises ValueError for what is no knob, no value of it, or no range."""
    knobs = ["model", *(f"train.{knob}" for knob in Train.model_fields if knob not in _ELSEWHERE)]
    if name not in knobs:
        raise ValueError(f"{name} is no knob that a search can turn: {_instead(name, knobs)}")
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(
            f"{name}: {given!r} is no choice: write a list of values, or [low, high, log] for a range"
        )
    if is_range(name, given):
        return _range(name, given)
    values = [_value(name, value) for value in given]
    if len(values) == 1:
        raise ValueError(f"{name}: {given!r} leaves nothing to choose: give two values, or set {name} itself")
    if twice := [value for place, value in enumerate(values) if value in values[:place]]:
        raise ValueError(f"{name}: {given!r} has {twice[0]!r} twice: leave one out")
    return tuple(values)


def _instead(name: str, knobs: Sequence[str]) -> str:
    if name.removeprefix("train.") in _ELSEWHERE:
        return "it says where a training runs, and not what comes of it"
    close = difflib.get_close_matches(name, knobs, n=1, cutoff=0.6)
    return f"the nearest is {close[0]}" if close else f"they are {', '.join(knobs)}"


def is_range(name: str, values: Sequence[Any]) -> bool:
    """Whether these values of a search's knob are the ends of a range and its scale, and not a choice."""
    return values[-1] in _RANGES and kind_of(name) is not str


def kind_of(name: str) -> type:
    """int or float for a knob that is a number, or may be; str for any other."""
    if name == "model":
        return str
    annotation = Train.model_fields[name.removeprefix("train.")].annotation
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in (float, int) if kind in kinds), str)


def _range(name: str, given: Sequence[Any]) -> tuple[Any, ...]:
    ends, scale = [_value(name, end) for end in given[:-1]], given[-1]
    if len(ends) != 2 or None in ends:
        raise ValueError(f"{name}: {[*given]!r} is no range: write [low, high, {scale}]")
    if not (ends[0] < ends[1] and math.isfinite(ends[1])):
        raise ValueError(f"{name}: {[*given]!r} is no range: {ends[0]} is not below {ends[1]}")
    if scale == "log" and ends[0] <= 0:
        raise ValueError(f"{name}: {[*given]!r} is no range: a log one begins above 0; or write linear")
    return (*ends, scale)


def _value(name: str, value: Any) -> Any:
    """A value as the knob takes it: YAML reads 1e-4 as text. Raises ValueError for one that it does not take."""
    if name == "model":
        if not isinstance(value, str):
            raise ValueError(f"model: {value!r} is no model's name")
        return value
    knob = name.removeprefix("train.")
    try:
        return Train.model_validate({knob: value}).model_dump(mode="json")[knob]
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise ValueError(f"{name} cannot be {value!r}: {said[0].lower()}{said[1:]}") from error


class RunConfig(Frozen):
    """Everything that decides what a pipeline run computes. `--set` takes these names, dotted."""

    data: Data = Data()
    model: str | None = Field(None, description="Which of the workload's models to train; null: its first.")
    train: Train | None = Field(Train(), description="null: nothing is trained, as the workload's file says.")
    recipes: tuple[Recipe, ...] = Field(
        (), description="Compression candidates to try besides fp32; [] tries none."
    )
    engines: tuple[str, ...] | None = Field(
        None,
        description="What the files are tried in: onnxruntime, which always runs them, openvino, openvino:fp32; null: what is installed.",
    )
    search: Search = Search()
    gates: Gates = Gates()

    @field_validator("engines")
    @classmethod
    def _one_is_always_there(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """None of them is a way to say so, and a form cannot send an empty list."""
        return (ALWAYS,) if value == () else value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [recipe.name for recipe in self.recipes]
        if len(set(names)) < len(names):
            raise ValueError(f"two recipes have the same name: {', '.join(sorted(names))}")
        return self


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The knobs that a field is a group of, also where it may be null; None for a knob."""
    annotation = field.annotation
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings and sequences as dotted names and JSON values: {"train": {"lr": 0.1}} → {"train.lr": "0.1"}."""
    if isinstance(tree, Mapping) and tree:
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple) and tree:
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {prefix: tree if isinstance(tree, str) else json.dumps(tree)}
    return {
        k: v for key, value in items for k, v in flatten(value, f"{prefix}.{key}" if prefix else key).items()
    }
