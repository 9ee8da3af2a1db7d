"""Each bench starts by itself, as its page says: outside of pytest nobody puts what tests share on its path."""

import ast
import re
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[1] / "bench"
OWN = {path.stem for path in BENCHES.glob("*.py")}
PAGE = BENCHES.parents[1] / "docs" / "benchmarks.md"
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


def test_every_table_that_a_bench_writes_has_its_place_on_the_page_and_every_place_a_bench() -> None:
    written = set[str]()
    for script in BENCHES.glob("*.py"):
        found = re.findall(
            r'\b(?:published|write)\(f?"([\w ,{}]+)"(?: if \S+ else "([^"]+)")?', script.read_text()
        )
        written.update(name for names in found for name in names if name)
    written = {name.replace("{name}", each) for name in written for each in ("SQLite", "PostgreSQL")}
    places = re.findall(r"^<!-- ([^/].*) -->$", PAGE.read_text(), re.MULTILINE)
    assert sorted(places) == sorted(written)
    assert all(f"\n<!-- /{name} -->\n" in PAGE.read_text() for name in places)
