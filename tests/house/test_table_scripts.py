"""The scripts that make the tables of libraries say what the installed libraries make themselves."""

import os
import subprocess
import sys

import pytest
import table_scripts
from checkout import ROOT

from infra.platform import prefect
from tasks.registry import tables


def lines(script: str) -> list[str]:
    """In any order: SQLAlchemy names constraints and indexes in that of a set."""
    return sorted(line.strip(" ,\t") for line in script.splitlines())


@pytest.mark.slow
def test_mlflows_tables_are_those_that_its_migrations_make() -> None:
    made = table_scripts.mlflows()
    assert lines(tables.SCRIPT.read_text()) == lines(made), "run python tests/house/table_scripts.py"


@pytest.mark.slow
def test_prefects_tables_are_those_that_its_migrations_make() -> None:
    """In a process of its own: Prefect keeps the database that it was asked for first."""
    words = [sys.executable, "-c", "import table_scripts; print(table_scripts.prefects(), end='')"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    made = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert lines(prefect.SCRIPT.read_text()) == lines(made), "run python tests/house/table_scripts.py"
