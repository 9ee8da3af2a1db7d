"""`--set train.epochs=3`: dotted names and YAML values onto a run's knobs."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tasks.config import RunConfig, group_of
from tasks.errors import UserError
from tasks.recipes import chosen
from tasks.settings import Settings
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

_SAID = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "literal_error": "{expected}",
    "date_from_datetime_parsing": "a day such as 2013-04-01",
    "tuple_type": "a list",
}
"""What each kind of mistake asks for instead."""


def configure(workload: Workload, settings: Settings, asked: Iterable[str]) -> RunConfig:
    """The workload's run as mlflow.yaml and `--set` have it. Raises UserError also for a gate that production has set."""
    run = override(settings.apply_policy(workload.name, workload.defaults()), asked)
    settings.check_policy(workload.name, run)
    return run


def override(run: RunConfig, settings: Iterable[str]) -> RunConfig:
    """`run` with every `name=value` applied. Raises UserError naming the setting, its value and what is allowed."""
    tree = run.model_dump()
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise UserError(f"--set {setting!r} has no value: write --set train.epochs=3.")
        if run.train is None and name.partition(".")[0] == "train":
            raise UserError(f"--set {setting}: this workload trains nothing (train=None): leave it out.")
        _put(tree, name, _yaml(setting, text))
    if isinstance(tree["recipes"], list | tuple):
        tree["recipes"] = chosen(tree["recipes"], (*DEFAULT_RECIPES, *run.recipes), "--set recipes")
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"--set {'; '.join(map(_explain, error.errors()))}.") from error


def knob_names(model: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Every dotted name that `--set` takes."""
    knobs = []
    for name, field in model.model_fields.items():
        if (inner := group_of(field)) is not None:
            knobs += knob_names(inner, f"{prefix}{name}.")
        else:
            knobs.append(f"{prefix}{name}")
    return knobs


def _yaml(setting: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a day that no month has
        raise UserError(f"--set {setting!r}: {text!r} is not a YAML value.") from error


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *folders, leaf = name.split(".")
    inner: Any = tree
    for folder in folders:
        inner = inner.get(folder) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or (leaf not in inner):
        raise UserError(f"--set {name}: there is no such setting{_hint(name)}")
    inner[leaf] = value


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, knob_names(), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; `slipway settings` lists all."


def _explain(problem: ErrorDetails) -> str:
    name = ".".join(map(str, problem["loc"]))
    inner = [knob for knob in knob_names() if knob.startswith(f"{name}.")]
    if inner:
        return f"{name}={problem['input']!r}: it is a group; set one of {', '.join(inner)}"
    if said := _SAID.get(problem["type"]):
        return f"{name}={problem['input']!r}: it has to be {said.format(**problem.get('ctx', {}))}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}={problem['input']!r}: {message[0].lower()}{message[1:]}"
