"""What `make size` counts, and what it complains of."""

from pathlib import Path

import size

TEXT = '''"""A module."""

import os  # a comment


LIMIT = 3
"""What it is."""


def pick(rows, *, strict=False):
    """A docstring."""
    # a comment
    if strict and rows:
        return [row for row in rows if row]

    def inner(row):
        return row if row else None

    for row in rows:
        try:
            inner(row)
        except (OSError, ValueError):
            pass
    return """a text
that counts"""
'''


def measured(folder: Path, text: str = TEXT) -> size.Module:
    path = folder / "module.py"
    path.write_text(text)
    return size.measure(path)


def test_blanks_comments_and_docstrings_do_not_count(tmp_path: Path) -> None:
    module = measured(tmp_path)
    assert module.lines == 14
    assert {function.name: function.lines for function in module.functions} == {"pick": 12, "pick.inner": 2}


def test_each_way_through_a_function_counts_and_one_within_it_for_itself(tmp_path: Path) -> None:
    branches = {function.name: function.branches for function in measured(tmp_path).functions}
    assert branches == {"pick": 6, "pick.inner": 1}  # if, and, comprehension, its if, for, except


def test_a_room_is_a_folder_and_the_servers_are_one_deeper() -> None:
    rooms = {
        "tasks/config.py": "tasks",
        "tasks/training/loop.py": "tasks.training",
        "tasks/workloads/examples/digits.py": "tasks.workloads",
        "flows/cli/views/live.py": "flows.cli",
        "infra/serving/options.py": "infra.serving",
        "infra/serving/http/routes.py": "infra.serving.http",
        "infra/platform/local.py": "infra.platform",
    }
    assert {path: size.room_of(Path(path)) for path in rooms} == rooms


def test_what_is_over_a_limit_is_said() -> None:
    long = size.Function("long", 61, 0)
    forked = size.Function("forked", 1, 13)
    modules = [
        size.Module(Path("tasks/a/big.py"), 251, (long, forked)),
        size.Module(Path("tasks/b/new.py"), 250, (size.Function("fine", 60, 12),)),
    ]
    said = list(size.complaints(modules, {"tasks.a": 250, "tasks.gone": 9}))
    assert [line.split(":")[0].split(" has ")[0] for line in said] == [
        "tasks/a/big.py",
        "tasks/a/big.py",
        "tasks/a/big.py",
        "Room tasks.a",
        "Room tasks.b",
        "There is no room tasks.gone",
    ]
    assert "long has 61 lines" in said[1] and "forked has 13 branches" in said[2]
    assert list(size.complaints(modules[1:], {"tasks.b": 250})) == []
