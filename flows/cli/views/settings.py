"""What `slipway settings` shows: every name that `--set` takes, its value, and what it does within which bounds."""

import json
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.overrides import knob_names
from flows.cli.views.document import show_document
from flows.orchestration.form import bounds_of
from tasks.config import RunConfig, group_of


def show_settings(reference: str | None, run: RunConfig, *, as_json: bool) -> None:
    """One JSON object on stdout, or a table for people."""
    if as_json:
        settings = {name: {"value": _value(run, name), "help": _sentence(name)} for name in _names(run)}
        show_document(json.dumps(settings))
        return
    console = Console(highlight=False)
    whose = (
        f"of {escape(reference)}, as its file and mlflow.yaml say" if reference else "as they are unless said"
    )
    console.print(f"[bold]Settings[/bold] {whose}", soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", max_width=16, overflow="fold")
    table.add_column("what it is", style="dim")
    for name in _names(run):
        table.add_row(name, escape(_shown(_value(run, name))), escape(_sentence(name)))
    console.print(table)
    first = "train.epochs=3" if run.train is not None else "gates.confidence=0.99"
    example = f"slipway run {reference or 'digits'} --set {first} --set 'recipes=[int8-static]'"
    console.print(f"\nTry some:\n  {escape(example)}", soft_wrap=True)


def _names(run: RunConfig) -> list[str]:
    """Of a workload that trains nothing, those of training say nothing."""
    return [name for name in knob_names() if run.train is not None or not name.startswith("train.")]


def _value(run: RunConfig, name: str) -> Any:
    value: Any = run.model_dump(mode="json")
    for part in name.split("."):
        value = value[part]
    return value


def _shown(value: Any) -> str:
    """As `--set` takes it; recipes by their names."""
    if isinstance(value, list) and all("name" in item for item in value):
        return f"[{', '.join(recipe['name'] for recipe in value)}]"
    return value if isinstance(value, str) and value else json.dumps(value)


def _sentence(name: str) -> str:
    """What the setting does, and its bounds or choices."""
    *folders, leaf = name.split(".")
    model: type[BaseModel] = RunConfig
    for folder in folders:
        model = group_of(model.model_fields[folder]) or model
    field = model.model_json_schema()["properties"][leaf]
    for given in field.get("anyOf", []):
        field |= given if given != {"type": "null"} else {}
    choices = [f"({', '.join(field['enum'])})"] if "enum" in field else []
    return " ".join([field["description"], *bounds_of(field), *choices])
