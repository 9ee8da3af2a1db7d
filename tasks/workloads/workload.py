"""The contract of a workload: where rows come from, how they become tensors, and which module learns them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tasks.config import Data, Gates, RunConfig, Search, Train
from tasks.errors import UserError
from tasks.recipes import Recipe
from tasks.records import Material
from tasks.workloads.model_files import Files, ModelFile, why_not_ours
from tasks.workloads.rows import Rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa

    from tasks.codecs import Codec, Reading
    from tasks.goals.goal import Goal
    from tasks.workloads.model_files import Build, Source
    from tasks.workloads.own_training import Fit, Step

    Inputs = dict[str, np.ndarray[Any, Any]]
    Score = Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]

_HALF = {"kind": "prune", "ratio": 0.5, "milder": 2}

DEFAULT_RECIPES: tuple[Recipe, ...] = tuple(
    Recipe.model_validate({"name": name, "steps": steps})
    for name, steps in {
        "int8-dynamic": [{"kind": "quantize", "mode": "dynamic"}],
        "int8-static": [{"kind": "quantize", "mode": "static"}],
        "pruned-50": [_HALF],
        "pruned-50-int8": [_HALF, {"kind": "quantize", "mode": "static"}],
    }.items()
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Everything Slipway has to know of a model; a file defines one as `workload = Workload(...)`.

    The names in `inputs` are the names in the module's `forward`, in the ONNX graph, in the MLflow signature and in a
    request. Of several outputs (a tuple, a dict) the first is learned and scored; the others are served beside it.
    Fitted preprocessing (scales, vocabularies) belongs inside the module as buffers, so that what is exported is what
    is served. Raises UserError when a field does not make sense.

    `goal` says what is learned; of several the first one's score picks and gates. `kind` and `target`, with `output`, `loss`,
    `score`, `score_name` and `probabilities`, are the older way to say so: they become a goal, and what is served stays the same.
    """

    name: str
    kind: Literal["classification", "regression"] | None = None
    load: Callable[[], pd.DataFrame]
    schema: Callable[[], pa.DataFrameSchema] | pa.DataFrameSchema
    target: str | None = None
    goal: Goal | tuple[Goal, ...] | None = None
    inputs: Callable[[pd.DataFrame], Inputs] | Mapping[str, Codec | Callable[[pd.DataFrame], Any]]
    """A function of the frame; or what a request brings by name, each a codec, or a function that makes that one tensor."""
    model: Source | Mapping[str, Source]
    bases: Mapping[str, Files] = field(default_factory=dict)
    students: Mapping[str, Build] = field(default_factory=dict)
    rows: Rows = Rows()
    time: str | None = None
    slices: tuple[str, ...] = ()
    """As in `rows`, for files that name nothing else of theirs."""
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    output: str | None = None
    loss: Callable[..., Any] | None = None
    score: Score | None = None
    score_name: str | None = None
    probabilities: bool = False
    """`score` gets class probabilities [n, classes] instead of class codes [n]; scikit-learn's roc_auc_score and its like, of two
    classes, the second's [n]."""
    train: Train | None = Train()
    """None: nothing is trained, the weights of Weights, Exported or Onnx ship as they are."""
    step: Step | None = None
    """(module, batch) -> loss: Slipway's loop, a loss of one's own that runs the module as it likes; see docs/own-training.md."""
    fit: Fit | None = None
    """(module, training) -> None: a loop of one's own."""
    data: Data = Data()
    recipes: tuple[Recipe, ...] = DEFAULT_RECIPES
    engines: tuple[str, ...] | None = None
    """What the files are tried in, such as ("onnxruntime", "openvino"); None: what is installed."""
    gates: Gates = Gates()
    search: Search = Search()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", self.name):
            raise UserError(
                f"The workload's name {self.name!r} also names a model: use lower-case letters, digits, '-' and '_'."
            )
        if self.goal is not None:
            self._check_goal()
        elif self.kind not in ("classification", "regression"):
            raise UserError(
                f"Workload {self.name}: kind {self.kind!r} is neither 'classification' nor 'regression'."
            )
        elif self.target is None:
            raise UserError(f"Workload {self.name} says no target: name the column to predict.")
        self._check_training()
        for name in ("time", "slices"):
            inside, beside = getattr(self.rows, name), getattr(self, name)
            if inside and beside and inside != beside:
                raise UserError(
                    f"Workload {self.name}: {name}={beside!r} stands beside rows=Rows({name}={inside!r}): leave the first out."
                )
            object.__setattr__(self, name, inside or beside)
        if self.rows.gap and self.time is None:
            raise UserError(
                f"Workload {self.name}: rows.gap={self.rows.gap!r} is before a cut in time, and no time is named: add Rows(time=…), or leave it out."
            )
        _ = self.reading

    def _check_training(self) -> None:
        """Raise UserError for two who turn the crank, or for weights that nobody made."""
        if self.step is not None and self.fit is not None:
            raise UserError(
                f"Workload {self.name} names both step= and fit=: step is for Slipway's loop, fit brings its own; leave one out."
            )
        if self.train is None and (self.step or self.fit):
            named = "fit" if self.step is None else "step"
            raise UserError(
                f"Workload {self.name}: train=None trains nothing, and {named}= is a training: leave one out."
            )
        for source in self.model.values() if isinstance(self.model, Mapping) else [self.model]:
            if problem := why_not_ours(source, self.train is not None):
                raise UserError(f"Workload {self.name}: {problem}")

    def _check_goal(self) -> None:
        """Raise UserError for what says the same in two ways, and for goals that one graph cannot hold."""
        older = ("kind", "target", "output", "loss", "score", "score_name", "probabilities")
        if both := [name for name in older if getattr(self, name)]:
            raise UserError(
                f"Workload {self.name}: goal= says it all, and {both[0]}= too: leave out {', '.join(both)}."
            )
        if not self.goals:
            raise UserError(
                f"Workload {self.name}: goal=() learns nothing: give one, such as Classify('left')."
            )
        if self.rows.group is None and (
            torn := [goal.target.unit for goal in self.goals if goal.target.unit]
        ):
            raise UserError(
                f"Workload {self.name}: rows of one {torn[0]!r} are compared with each other, and splits would tear them apart: "
                f"add rows=Rows(group={torn[0]!r})."
            )
        if same := [name for place, name in enumerate(self.outputs) if name in self.outputs[:place]]:
            raise UserError(
                f"Workload {self.name}: two goals have an output {same[0]!r}: give one another, output='{same[0]}_2'."
            )

    @cached_property
    def goals(self) -> tuple[Goal, ...]:
        """What is learned, in the order of the model's outputs."""
        if self.goal is not None:
            return self.goal if isinstance(self.goal, tuple) else (self.goal,)
        from tasks.goals.kinds import by_kind

        assert self.kind is not None and self.target is not None
        return (
            by_kind(
                self.kind,
                self.target,
                output=self.output,
                loss=self.loss,
                score=self.score,
                score_name=self.score_name,
                probabilities=self.probabilities,
            ),
        )

    @cached_property
    def reading(self) -> Reading:
        """The inputs as a function of the frame, whichever way they are declared. Raises UserError when they make no sense."""
        from tasks.codecs import Coded, Plain

        return Coded(self.inputs) if isinstance(self.inputs, Mapping) else Plain(self.inputs)

    @property
    def sampling(self) -> Rows:
        """How its rows hang together, wherever the file says it."""
        return replace(self.rows, time=self.time, slices=self.slices)

    @property
    def axes(self) -> dict[str, Mapping[int, str]]:
        """Further axes whose size may differ between requests, by input: those of codecs, and those that `dynamic` names."""
        return {**self.reading.axes, **self.dynamic}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the model's outputs that are learned, in the graph; others are exported beside them."""
        return tuple(name for goal in self.goals for name in goal.outputs)

    @property
    def served(self) -> tuple[str, ...]:
        """The names of the answers in the file that ships: the outputs, or what its nodes decide of them."""
        return tuple(name for goal in self.goals for name in goal.served)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are learned from."""
        return tuple(dict.fromkeys(column for goal in self.goals for column in goal.target.columns))

    def defaults(self) -> RunConfig:
        """The run this workload asks for when nothing is set."""
        return RunConfig(
            data=self.data,
            train=self.train,
            recipes=self.recipes,
            engines=self.engines,
            gates=self.gates,
            search=self.search,
        )

    def check(self, run: RunConfig) -> None:
        """Raise UserError for settings that cannot work for this workload; its recipes: `check_recipes`."""
        self.materials(run.model)
        self.check_data(run.data)
        if (run.train is None) != (self.train is None):
            said = "trains nothing (train=None)" if self.train is None else "is trained"
            raise UserError(
                f"Workload {self.name} {said}, as its file says: leave train= out of the run's settings."
            )
        if self.fit is not None and run.train is not None and run.train.workers > 1:
            raise UserError(
                f"Workload {self.name}: train.workers={run.train.workers} cannot be, for its fit is a loop of its own: set train.workers=1."
            )
        if run.gates.folds and (why := self._why_no_folds(run.gates.folds)):
            raise UserError(
                f"Workload {self.name}: gates.folds={run.gates.folds} cannot be, for {why}: set gates.folds=0."
            )

    def _why_no_folds(self, folds: int) -> str | None:
        if self.train is None:
            return "nothing is trained (train=None), so that all rows but the test rows choose already"
        if self.time is not None:
            return "its rows are in time"
        return "one fold leaves nothing to train on" if folds == 1 else None

    def materials(self, model: str | None = None) -> tuple[Material, ...]:
        """The files that the model called `model` is made of, by digest: its own first, then the bases.

        Raises UserError for an unknown name, and for files that are not there.
        """
        return tuple(files.material(name) for name, files in self.files(model))

    def all_materials(self) -> tuple[Material, ...]:
        """Those of every model, each once."""
        return tuple(dict.fromkeys(material for name in self._models for material in self.materials(name)))

    def all_files(self) -> tuple[tuple[str, Files], ...]:
        """The files of every model, by what each is for."""
        return tuple(dict.fromkeys(named for name in self._models for named in self.files(name)))

    def files(self, model: str | None = None) -> tuple[tuple[str, Files], ...]:
        """The files that the model called `model` is made of, unread. Raises UserError for an unknown name."""
        source = self.builder(model)
        own = [(source.name, source.files)] if isinstance(source, ModelFile) else []
        return (*own, *((f"base {name}", files) for name, files in self.bases.items()))

    @property
    def first_model(self) -> str | None:
        """The model that is trained when none is named; None where it has no name."""
        return self._models[0]

    @property
    def _models(self) -> list[str] | list[None]:
        return list(self.model) if isinstance(self.model, Mapping) else [None]

    def why_untrainable(self, model: str | None) -> str | None:
        """Why no step of a recipe can train the model called `model`; None when it can."""
        source = self.builder(model)
        if isinstance(source, ModelFile) and not source.has_module:
            return "needs a torch module, and this workload ships a file: give quantize or float16"
        if self.train is None:
            return "trains what it has changed, and train=None trains nothing: give quantize or float16"
        return None

    def check_data(self, data: Data) -> None:
        """Raise UserError when rows are to be cut by time and no column says when they are from."""
        if data.until is not None and self.time is None:
            raise UserError(
                f"data.until={data.until} needs a time column, and workload {self.name} names none: leave it out."
            )

    def builder(self, name: str | None) -> Source:
        """What the model called `name` (None: the first) is built by or read from. Raises UserError for an unknown name."""
        if not isinstance(self.model, Mapping):
            if name is not None:
                raise UserError(f"Workload {self.name} has one model without a name: leave out model={name}.")
            return self.model
        if name is not None and name not in self.model:
            raise UserError(
                f"Workload {self.name} has no model {name!r}: choose one of {', '.join(self.model)}."
            )
        return self.model[name or next(iter(self.model))]
