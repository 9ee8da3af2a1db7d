"""The contract of a workload: where rows come from, how they become tensors, and which module learns them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tasks.config import Data, Gates, RunConfig, Train
from tasks.errors import UserError
from tasks.recipes import Recipe
from tasks.records import Material
from tasks.workloads.model_files import Files, ModelFile

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

    from tasks.workloads.model_files import Known

    Inputs = dict[str, np.ndarray[Any, Any]]
    Build = Callable[[], nn.Module] | Callable[[Inputs], nn.Module] | Callable[[Known], nn.Module]
    Source = Build | ModelFile
    Score = Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]

DEFAULT_RECIPES: tuple[Recipe, ...] = tuple(
    Recipe.model_validate({"name": name, "steps": steps})
    for name, steps in {
        "int8-dynamic": [{"kind": "quantize", "mode": "dynamic"}],
        "int8-static": [{"kind": "quantize", "mode": "static"}],
        "pruned-50": [{"kind": "prune", "ratio": 0.5}],
        "pruned-50-int8": [{"kind": "prune", "ratio": 0.5}, {"kind": "quantize", "mode": "static"}],
    }.items()
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Everything Slipway has to know of a model; a file defines one as `workload = Workload(...)`.

    The names in `inputs` are the names in the module's `forward`, in the ONNX graph, in the MLflow signature and in a
    request. Of several outputs (a tuple, a dict) the first is learned and scored; the others are served beside it.
    Fitted preprocessing (scales, vocabularies) belongs inside the module as buffers, so that what is exported is what
    is served. Raises UserError when a field does not make sense.
    """

    name: str
    kind: Literal["classification", "regression"]
    load: Callable[[], pd.DataFrame]
    schema: Callable[[], pa.DataFrameSchema] | pa.DataFrameSchema
    target: str
    inputs: Callable[[pd.DataFrame], Inputs]
    model: Source | Mapping[str, Source]
    bases: Mapping[str, Files] = field(default_factory=dict)
    students: Mapping[str, Build] = field(default_factory=dict)
    time: str | None = None
    slices: tuple[str, ...] = ()
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
    data: Data = Data()
    recipes: tuple[Recipe, ...] = DEFAULT_RECIPES
    gates: Gates = Gates()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", self.name):
            raise UserError(
                f"The workload's name {self.name!r} also names a model: use lower-case letters, digits, '-' and '_'."
            )
        if self.kind not in ("classification", "regression"):
            raise UserError(
                f"Workload {self.name}: kind {self.kind!r} is neither 'classification' nor 'regression'."
            )
        for source in self.model.values() if isinstance(self.model, Mapping) else [self.model]:
            self._check_source(source)

    def _check_source(self, source: Source) -> None:
        if not isinstance(source, ModelFile):
            if not callable(source):
                raise UserError(f"Workload {self.name}: {not_a_module(source)}")
            if self.train is None:
                raise UserError(
                    f"Workload {self.name}: train=None ships weights that are made up: name Weights, Exported or Onnx."
                )
        elif self.train is not None and not source.has_module:
            raise UserError(
                f"Workload {self.name}: {source.name} ships as it is, and nothing of it is trained: say train=None."
            )

    @property
    def output_name(self) -> str:
        """The name of the model's output in the graph, the signature and an answer."""
        return self.output or ("logits" if self.kind == "classification" else "prediction")

    def defaults(self) -> RunConfig:
        """The run this workload asks for when nothing is set."""
        return RunConfig(data=self.data, train=self.train, recipes=self.recipes, gates=self.gates)

    def check(self, run: RunConfig) -> None:
        """Raise UserError for settings that cannot work for this workload; its recipes: `check_recipes`."""
        self.materials(run.model)
        self.check_data(run.data)
        if (run.train is None) != (self.train is None):
            why = "trains nothing (train=None)" if self.train is None else "is trained"
            raise UserError(
                f"Workload {self.name} {why}, as its file says: leave train= out of the run's settings."
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
        source = self.builder(model)
        own = [source.files.material(source.name)] if isinstance(source, ModelFile) else []
        return (*own, *(files.material(f"base {name}") for name, files in self.bases.items()))

    def all_materials(self) -> tuple[Material, ...]:
        """Those of every model, each once."""
        names = list(self.model) if isinstance(self.model, Mapping) else [None]
        return tuple(dict.fromkeys(material for name in names for material in self.materials(name)))

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


def not_a_module(value: object) -> str:
    """The sentence for what is given as a model, or built, and is no torch module."""
    kind = type(value)
    if kind.__module__.partition(".")[0] in ("sklearn", "xgboost", "lightgbm", "catboost"):
        return f"model is a {kind.__name__}: export it with skl2onnx and give Onnx(…)."
    return f"its model is a {kind.__name__}; return a torch.nn.Module."
