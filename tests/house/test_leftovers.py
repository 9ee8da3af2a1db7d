"""What is made for a while inside a home is named as what `slipway clean` removes: a kill may leave it there."""

import ast
from pathlib import Path

import pytest
from checkout import ROOT

MAKERS = {"TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp"}


def made_for_a_while() -> list[tuple[Path, ast.Call]]:
    return [
        (path, node)
        for top in ("flows", "tasks", "infra")
        for path in sorted((ROOT / top).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in MAKERS
    ]


@pytest.mark.parametrize(
    ("path", "call"), made_for_a_while(), ids=lambda value: value.stem if isinstance(value, Path) else ""
)
def test_it_is_hidden_in_a_home_or_of_a_process_in_the_folder_for_temporary_files(
    path: Path, call: ast.Call
) -> None:
    given = {keyword.arg: ast.unparse(keyword.value).strip("f'\"") for keyword in call.keywords}
    assert given.get("prefix", "").startswith(
        (".", "{_before(path)}") if "dir" in given else "{_OURS}{os.getpid()}-"
    ), ast.unparse(call)
