"""docs/reference.md is what the code says today."""

import importlib.util
from types import ModuleType

import pytest
import typer
from checkout import ROOT

from flows.cli.app import app


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "site" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_not_stale(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == generator.reference(), "make docs writes it anew"


def test_it_has_every_command(generator: ModuleType) -> None:
    page, commands = generator.reference(), typer.main.get_command(app).commands  # type: ignore[attr-defined]
    groups = {name: command.commands for name, command in commands.items() if hasattr(command, "commands")}
    names = [name for name in commands if name not in groups]
    names += [f"{group} {name}" for group, members in groups.items() for name in members]
    assert groups and names and [name for name in names if f"### slipway {name}\n" not in page] == []
