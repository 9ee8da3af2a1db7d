"""The form of one workload: that of `retrain` with the workload's values in it and its own choices; of one's own, with its bundle fixed."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from tasks.config import RunConfig, flatten
from tasks.engines import ALWAYS
from tasks.errors import UserError
from tasks.recipes import BASELINE
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

_SECTIONS = {"train": "training", "gates": "gates", "search": "search", "data": "data"}
"""Of a run's settings, and what the form calls each."""


def own_form(schema: dict[str, Any], reference: str, workload: Workload) -> dict[str, Any]:
    """`filled_form` for the workload that `reference` names, and no other."""
    form = filled_form(schema, workload)
    fields = form["properties"]
    del fields["workload"]
    fields["file"] |= {
        "enum": [reference],
        "default": reference,
        "title": "bundle",
        "description": "The workload's code as it was deployed; `slipway deploy` replaces it.",
    }
    return form


def filled_form(schema: dict[str, Any], workload: Workload) -> dict[str, Any]:
    """`schema`, which is retrain's, for one workload: bounds stay, defaults and choices are its own.

    Gates stay empty, with what the workload says beside them: production's policy, which only workers know, goes before it.
    """
    form, defaults = deepcopy(schema), workload.defaults()
    fields = form["properties"]
    if isinstance(workload.model, Mapping):
        names = list(workload.model)
        fields["model"] |= {
            "enum": names,
            "default": names[0],
            "description": "Which of the models to train.",
        }
    else:
        fields.pop("model", None)
    recipes = [recipe.name for recipe in defaults.recipes]
    known = {recipe.name: recipe for recipe in (*DEFAULT_RECIPES, *workload.recipes)}
    fields["recipes"]["items"]["enum"] = [BASELINE, *known]
    fields["recipes"]["default"] = recipes or [BASELINE]
    fields["engines"]["default"] = [*(defaults.engines or ())]
    if defaults.train is None:
        fields.pop("training", None)
    for section in ("train", "search", "data"):
        if (knobs := getattr(defaults, section)) is not None:
            _fill_in(form["definitions"], fields[_SECTIONS[section]], knobs.model_dump(mode="json"))
    for name, value in defaults.gates.model_dump(mode="json").items():
        if value is not None:
            _section(form["definitions"], fields["gates"])[name]["description"] += (
                f" Empty: {value}, or as mlflow.yaml sets it."
            )
    return form


def without_nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` whose empty fields are left out when it is sent: Prefect's page sends a default of null, and then refuses it."""
    form = deepcopy(schema)
    for field in form.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]
    return form


def parameters(config: RunConfig, settings: Iterable[str]) -> dict[str, Any]:
    """The arguments of `retrain` that say what `settings` (name=value) changed in `config`.

    Raises UserError for a value that the form has no place for.
    """
    asked: dict[str, Any] = {}
    tree = config.model_dump(mode="json")
    for setting in settings:
        name = setting.partition("=")[0]
        group, _, knob = name.partition(".")
        if group == "recipes":
            asked["recipes"] = [recipe.name for recipe in config.recipes] or [BASELINE]
        elif group == "engines":
            asked["engines"] = [*(config.engines or (ALWAYS,))]
        elif group == "model":
            asked["model"] = config.model or ""
        else:
            value = tree[group][knob]
            if value is None:
                raise UserError(
                    f"--params {setting}: Prefect's form cannot say null: write it in the workload's file."
                )
            asked.setdefault(_SECTIONS[group], {})[knob] = value
    return asked


def in_words(arguments: Mapping[str, Any]) -> str:
    """training.epochs=3, recipes=fp32: what a deployment sets otherwise than its workload."""
    if not arguments:
        return ""
    lists = {
        name: ",".join(value) if name in ("recipes", "engines") else value
        for name, value in arguments.items()
    }
    return ", ".join(f"{name}={value}" for name, value in flatten(lists).items())


def _fill_in(definitions: dict[str, Any], field: dict[str, Any], values: dict[str, Any]) -> None:
    """Put the workload's values where they say something: an empty field is null, and an empty list is none."""
    said = {name: value for name, value in values.items() if value not in (None, [], "")}
    for name, knob in _section(definitions, field).items():
        if name in said:
            knob["default"] = said[name]
    field["default"] = said


def _section(definitions: dict[str, Any], field: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a section of the form."""
    properties: dict[str, dict[str, Any]] = definitions[field["$ref"].rpartition("/")[2]]["properties"]
    return properties
