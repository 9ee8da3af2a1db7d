"""`--set train.epochs=3`: dotted names and YAML values onto a run's knobs."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.config import Run
from tasks.errors import UserError


def override(run: Run, settings: Iterable[str]) -> Run:
    """`run` with every `name=value` applied. Raises UserError naming the setting, its value and what is allowed."""
    tree = run.model_dump()
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise UserError(f"--set {setting!r} has no value: write --set train.epochs=3.")
        _put(tree, name, _yaml(setting, text))
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"--set: {_explain(error)}.") from error


def knob_names(model: type[BaseModel] = Run, prefix: str = "") -> list[str]:
    """Every dotted name that `--set` takes."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += knob_names(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def _yaml(setting: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {setting!r}: {text!r} is not a YAML value.") from error


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *folders, leaf = name.split(".")
    inner: Any = tree
    for folder in folders:
        inner = inner.get(folder) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or (leaf not in inner):
        raise UserError(f"--set {name}: there is no such setting{_hint(name)}.")
    inner[leaf] = value


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, knob_names(), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; settings are {', '.join(knob_names())}"


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{name}={problem['input']!r}: {message[0].lower()}{message[1:]}")
    return "; ".join(lines)
