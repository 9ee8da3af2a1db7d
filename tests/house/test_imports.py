"""No circle of files, whether imported at the top, in a function or for types only; import-linter looks at rooms (`make lint`)."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from checkout import ROOT

TOPS = ("flows", "tasks", "infra")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in TOPS
    for path in (ROOT / top).rglob("*.py")
}


@cache
def nodes(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text()))]


def imported(path: Path) -> set[str]:
    """The modules of ours that a file names in its imports: `from package import module` is the module's."""
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                names.add(module if module in FILES else str(node.module))
    return names & FILES.keys()


@pytest.mark.slow
def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {name: imported(path) - {name} for name, path in FILES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' → '.join(error.args[1])}") from None


def test_no_module_of_ours_is_imported_by_a_string() -> None:
    """Which would hide a circle from whoever reads imports; what a user names is found by tasks/workloads/catalogue.py."""
    dynamic = {
        name
        for name, path in FILES.items()
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and "import_module" in ast.unparse(node.func)
        and any(isinstance(child, ast.Constant) for child in ast.walk(node))
    }
    assert dynamic == set()
