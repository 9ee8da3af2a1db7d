"""The list of variables is the code's own: nothing is read that it does not name, and it names nothing that is not there."""

import re

import yaml
from checkout import ROOT

TEXT = (ROOT / "docs" / "site" / "environment.yaml").read_text()

VARIABLES = yaml.safe_load(TEXT)

OURS = re.compile(r"\bSLIPWAY_[A-Z_]+\b")
"""In tests, SLIPWAY_TEST_… is between a test and its workload."""


def test_each_variable_that_is_named_anywhere_is_declared_and_the_other_way_round() -> None:
    named: set[str] = set()
    for top in ("flows", "tasks", "infra"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".yaml", ".env", ".Dockerfile"):
                named |= {name.removesuffix("_FILE") for name in OURS.findall(path.read_text())}
    assert named == {name for name in VARIABLES if name.startswith("SLIPWAY_")}


def test_each_is_named_where_it_is_read_and_once_in_the_list() -> None:
    source = "".join(
        path.read_text() for top in ("flows", "tasks", "infra") for path in (ROOT / top).rglob("*.py")
    )
    for name, about in VARIABLES.items():
        assert name in source, name
        assert about["meaning"] and about.keys() <= {"meaning", "default"}, name
    assert len(re.findall("^[A-Z]", TEXT, re.MULTILINE)) == len(VARIABLES)
