"""A library's tables come from its script, where that is for the release that is installed."""

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from tasks.system.tables import make_tables


def tables_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]


@pytest.mark.parametrize(("release", "made"), [(version("numpy"), "scripted"), ("0.0", "migrated")])
def test_tables_are_those_of_the_script_or_of_the_librarys_own_migrations_where_that_is_for_another_release(
    tmp_path: Path, release: str, made: str
) -> None:
    script = tmp_path / "numpy.sql"
    script.write_text(f"-- numpy {release}\nCREATE TABLE scripted (x);\n")

    def migrate(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE migrated (x)")

    path = tmp_path / "home" / "numpy.db"
    (path.parent).mkdir()
    path.with_name(".numpy.db.new").write_text("what a killed process left")
    make_tables(path, script, migrate)
    assert tables_in(path) == [made]
    make_tables(path, tmp_path / "numpy.sql", lambda path: pytest.fail("it is there"))
    assert tables_in(path) == [made]


def test_what_another_release_opens_without_migrations_of_ours_is_left_to_it(tmp_path: Path) -> None:
    script = tmp_path / "numpy.sql"
    script.write_text("-- numpy 0.0\nCREATE TABLE scripted (x);\n")
    make_tables(tmp_path / "numpy.db", script)
    assert not (tmp_path / "numpy.db").exists()
