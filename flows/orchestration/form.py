"""The form that Prefect's pages show for `retrain`: what is left empty stays as the workload's file says."""

import re
from typing import Annotated, Any, TypedDict, TypeVar

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.config import Data, Gates, RunConfig, Search, Train
from tasks.engines import CHOICES
from tasks.errors import UserError
from tasks.recipes import BASELINE, Recipe, chosen
from tasks.system.frozen import Frozen
from tasks.workloads.catalogue import names
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

K = TypeVar("K", bound=Frozen)


class Blank(Frozen):
    """Frozen of which only those that were filled in count."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Without defaults, which would fill the fields in, and null, which an empty field says; bounds where people read."""
        schema = handler(core_schema)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            field.pop("default", None)
            kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
            if len(kinds) == 1:
                del field["anyOf"]
                field.update(kinds[0])
            sentence = re.sub("; null: [^.;]*", "", field["description"])
            field["description"] = " ".join([sentence, *bounds_of(field)])
        return schema

    @model_serializer(mode="wrap")
    def _filled_in(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class DataForm(Data, Blank):
    """Which rows are used and how they are split."""


class TrainingForm(Train, Blank):
    """How the weights are found."""


class SearchForm(Search, Blank):
    """How long to look for better recipes than those that are chosen."""


class GatesForm(Gates, Blank):
    """What a model must hold to be promoted; empty: as its workload and mlflow.yaml say."""


WorkloadChoice = Annotated[str, Field(json_schema_extra={"enum": list(names())})]

RecipeChoice = Annotated[
    str | Recipe,
    WithJsonSchema({"type": "string", "enum": [BASELINE, *(recipe.name for recipe in DEFAULT_RECIPES)]}),
]

EngineChoice = Annotated[str, WithJsonSchema({"type": "string", "enum": [*CHOICES]})]

Text = Annotated[str | None, WithJsonSchema({"type": "string"})]

Number = Annotated[int | None, WithJsonSchema({"type": "integer", "minimum": 1})]

Choice = Annotated[bool | None, WithJsonSchema({"type": "boolean"})]
"""What may be left empty. The page offers a choice of types, all called Property, where a schema says null itself."""

TRAINING, GATES, SEARCH, DATA = TrainingForm(), GatesForm(), SearchForm(), DataForm()
"""Sections with nothing filled in."""


class Form(TypedDict):
    """The arguments of `retrain` that the form's sections fill in."""

    model: str
    training: TrainingForm
    recipes: tuple[RecipeChoice, ...]
    engines: tuple[EngineChoice, ...]
    gates: GatesForm
    search: SearchForm
    data: DataForm


def filled_in(config: RunConfig) -> Form:
    """Every field filled in, for a caller that has the whole configuration."""
    return Form(
        model=config.model or "",
        training=TrainingForm.model_validate(config.train.model_dump()) if config.train else TRAINING,
        recipes=config.recipes or (BASELINE,),
        engines=config.engines or (),
        gates=GatesForm.model_validate(config.gates.model_dump()),
        search=SearchForm.model_validate(config.search.model_dump()),
        data=DataForm.model_validate(config.data.model_dump()),
    )


def read(form: Form, workload: Workload, defaults: RunConfig) -> RunConfig:
    """`defaults` with what was filled in. Raises UserError for a recipe that does not exist."""
    named = (*DEFAULT_RECIPES, *workload.recipes)
    return RunConfig(
        model=form["model"] or defaults.model,
        train=_train(defaults.train, form["training"]),
        recipes=chosen(form["recipes"], named, "recipes") if form["recipes"] else defaults.recipes,
        engines=form["engines"] or defaults.engines,
        gates=_over(defaults.gates, form["gates"]),
        search=_over(defaults.search, form["search"]),
        data=_over(defaults.data, form["data"]),
    )


def _train(knobs: Train | None, form: TrainingForm) -> Train | None:
    """Raises UserError for knobs of a training that there is none of."""
    if knobs is not None:
        return _over(knobs, form)
    if asked := sorted(form.model_fields_set):
        raise UserError(f"training.{asked[0]}: this workload trains nothing (train=None): leave it empty.")
    return None


def bounds_of(field: dict[str, Any]) -> list[str]:
    """The field's limits in words: the page checks them and does not show them."""
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    said = [f"{word} {field[name]:,}" for name, word in words.items() if name in field]
    return [f"({', '.join(said)})"] if said else []


def _over(knobs: K, form: Frozen) -> K:
    return knobs.model_copy(update={name: getattr(form, name) for name in form.model_fields_set})
