"""The scripts that make the tables of libraries say what the installed libraries make themselves."""

import pytest
import table_scripts

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
def test_prefects_tables_are_those_that_its_migrations_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "")  # put back: the script sets it
    made = table_scripts.prefects()
    assert lines(prefect.SCRIPT.read_text()) == lines(made), "run python tests/house/table_scripts.py"
