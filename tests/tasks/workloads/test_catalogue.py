import importlib
import sys
from pathlib import Path

import pytest
from checkout import SUPPORT

from tasks.errors import UserError
from tasks.workloads.catalogue import load_workload, names, source_file

FILE = """
from dataclasses import replace
from tasks.workloads.examples.digits import workload as digits
workload = replace(digits, name="mine")
other = replace(digits, name="other")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_one_is_found_by_name_module_attribute_and_path(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "digits" in names()
    assert load_workload("digits").name == "digits"
    assert load_workload("tasks.workloads.examples.digits").name == "digits"
    assert load_workload("tasks.workloads.examples.digits:workload").name == "digits"
    assert load_workload(str(file)).name == "mine"
    assert load_workload(f"{file}:other").name == "other"
    monkeypatch.chdir(file.parent)
    assert load_workload("./mine.py").name == "mine" and source_file("mine.py") == file


def test_a_changed_file_is_read_anew(file: Path) -> None:
    assert load_workload(str(file)).name == "mine"
    file.write_text(FILE.replace('"mine"', '"changed"'))
    assert load_workload(str(file)).name == "changed"


def test_a_file_may_import_its_neighbour(file: Path) -> None:
    (file.parent / "neighbour_of_mine.py").write_text("NAME = 'near'\n")
    file.write_text("from neighbour_of_mine import NAME\n" + FILE.replace('"mine"', "NAME"))
    assert load_workload(str(file)).name == "near"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("workload = (\n", r"line 1: '\(' was never closed"),
        ("x = 1\n", r"defines no workload: end the file with `workload = Workload\("),
        ("import nowhere_to_be_found\n", "line 1: ModuleNotFoundError"),
        ("\n1 / 0\n", "line 2: ZeroDivisionError"),
        ("raise SystemExit(3)\n", "line 1: SystemExit: 3"),
        (
            "from tasks.config import Gates\nGates(min_score='x')\n",
            "line 2: Gates: min_score='x': Input should be a valid number, unable to parse string as a number\\.$",
        ),
        ("from tasks.workloads import Workload\nworkload = Workload(name='A B')\n", "line 2: TypeError"),
    ],
)
def test_a_broken_file_is_named_with_its_line(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_workload(str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("reference", ["digit", "no.such.module", "nowhere/file.py", ""])
def test_an_unknown_one_is_a_sentence(reference: str) -> None:
    with pytest.raises(UserError, match="digits|No workload file"):
        load_workload(reference)


def test_a_package_that_does_not_import_is_not_called_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in {"broken_one": "import nowhere_to_be_found", "broken_two": "x = ("}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="of 'broken_one.churn' does not import: ModuleNotFoundError"):
        source_file("broken_one.churn")
    with pytest.raises(UserError, match="of 'broken_two.churn' does not import: SyntaxError"):
        source_file("broken_two.churn")


def test_a_name_that_cannot_name_a_model_is_refused(file: Path) -> None:
    file.write_text(FILE.replace('"mine"', '"My Model"'))
    with pytest.raises(UserError, match="'My Model' also names a model"):
        load_workload(str(file))


SHOP = SUPPORT / "cases" / "lazy_helper"


@pytest.mark.parametrize("name", ["shop.py", "shop.py:relative", "shop_relative_top.py"])
def test_a_helper_beside_the_file_is_found_when_a_function_imports_it(name: str) -> None:
    """prefect#9542"""
    workload = load_workload(str(SHOP / name))
    assert len(workload.load()) == 400
    assert workload.model().layer.out_features == 2  # type: ignore[operator, call-arg]


def test_two_files_may_have_neighbours_of_one_name(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows_here.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "deep_here").mkdir()
        (tmp_path / name / "deep_here" / "rows.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "mine.py").write_text(
            "from rows_here import NAME\n"
            + FILE.replace('"mine"', "NAME")
            + "def late():\n    import rows_here, deep_here.rows\n    return rows_here.NAME, deep_here.rows.NAME\n"
            + "workload = replace(workload, load=late)\n"
        )
    for name in ("first", "second", "first", "second"):
        workload = load_workload(str(tmp_path / name / "mine.py"))
        assert workload.name == name and workload.load() == (name, name)


def test_an_edited_neighbour_is_read_anew_and_with_it_what_imports_that(tmp_path: Path) -> None:
    (tmp_path / "names_of_mine.py").write_text("NAME = 'before'\n")
    (tmp_path / "between_of_mine.py").write_text("from names_of_mine import NAME\n")
    file = tmp_path / "mine.py"
    file.write_text("from between_of_mine import NAME\n" + FILE.replace('"mine"', "NAME"))
    before = load_workload(str(file))
    assert load_workload(str(file)) is before and before.name == "before"
    (tmp_path / "names_of_mine.py").write_text("NAME = 'after'\n")
    assert load_workload(str(file)).name == "after"


def test_a_module_that_somebody_else_imported_stays_theirs(tmp_path: Path) -> None:
    import json

    (tmp_path / "json.py").write_text("NAME = 'mine'\n")
    (tmp_path / "mine.py").write_text(
        "import json\n" + FILE.replace('"mine"', "'ours' if hasattr(json, 'NAME') else 'theirs'")
    )
    load_workload(str(tmp_path / "mine.py"))
    assert sys.modules["json"] is json


@pytest.mark.parametrize("name", ["flows", "tasks", "infra"])
def test_a_neighbour_of_the_name_of_ours_takes_nothing_away(tmp_path: Path, name: str) -> None:
    ours = importlib.import_module(name)
    (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "mine.py").write_text(f"import {name}\n" + FILE)
    assert load_workload(str(tmp_path / "mine.py")).name == "mine"
    assert sys.modules[name] is ours


def test_a_relative_import_above_the_file_is_a_sentence_with_the_fix(file: Path) -> None:
    file.write_text("from ..above import NAME\n" + FILE)
    with pytest.raises(UserError, match="line 1: ImportError: .*relative import.*: import it by its name"):
        load_workload(str(file))
