"""Each bench starts by itself, as its page says: outside of pytest nobody puts what tests share on its path."""

import ast
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[1] / "bench"
OWN = {path.stem for path in BENCHES.glob("*.py")}
SHARED = {path.stem for path in (BENCHES.parent / "support").glob("*.py")} - OWN


def imported(path: Path) -> set[str]:
    """The modules that a file imports, and those of the benches that it imports import."""
    names, files = set[str](), [path]
    while files:
        for node in ast.walk(ast.parse(files.pop().read_text())):
            found = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            found += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            files += [
                BENCHES / f"{name}.py" for name in {*found} - names if (BENCHES / f"{name}.py").exists()
            ]
            names.update(found)
    return names


@pytest.mark.parametrize("script", sorted(BENCHES.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_that_needs_what_tests_share_says_where_it_is(script: Path) -> None:
    text = script.read_text()
    if '__name__ == "__main__"' in text and (shared := imported(script) & SHARED):
        assert '/ "support"' in text, f"python {script.name} does not find {', '.join(sorted(shared))}"
