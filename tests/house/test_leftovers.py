"""What is made for a while inside a home is named as what `slipway clean` removes: a kill may leave it there."""

import ast
from collections.abc import Iterator

from checkout import ROOT

MAKERS = {"TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp"}


def made_for_a_while() -> Iterator[ast.Call]:
    for top in ("flows", "tasks", "infra"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if any(maker in (text := path.read_text()) for maker in MAKERS):
                for node in ast.walk(ast.parse(text)):
                    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in MAKERS:
                        yield node


def test_it_is_hidden_in_a_home_or_of_a_process_in_the_folder_for_temporary_files() -> None:
    calls = [*made_for_a_while()]
    assert calls
    for call in calls:
        given = {keyword.arg: ast.unparse(keyword.value).strip("f'\"") for keyword in call.keywords}
        assert given.get("prefix", "").startswith(
            (".", "{_before(path)}") if "dir" in given else "{_OURS}{os.getpid()}-"
        ), ast.unparse(call)
