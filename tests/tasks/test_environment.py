"""The list of variables is the code's own: nothing is read that it does not name, and it names nothing that is not there."""

import re

from checkout import ROOT

from tasks.environment import environment_variables

OURS = re.compile(r"\bSLIPWAY_[A-Z_]+\b")
"""In tests, SLIPWAY_TEST_… is between a test and its workload."""


def test_each_variable_that_is_named_anywhere_is_declared_and_the_other_way_round() -> None:
    named: set[str] = set()
    for top in ("flows", "tasks", "infra"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".yaml", ".env", ".Dockerfile") and path.stem != "environment":
                named |= set(OURS.findall(path.read_text()))
    assert named == {
        variable.name for variable in environment_variables() if variable.name.startswith("SLIPWAY_")
    }


def test_each_is_named_where_it_is_read_and_once_in_the_list() -> None:
    source = "".join(
        path.read_text() for top in ("flows", "tasks", "infra") for path in (ROOT / top).rglob("*.py")
    )
    own = (ROOT / "tasks" / "environment.py").read_text()
    for variable in environment_variables():
        assert source.count(variable.name) > own.count(variable.name), variable.name
    assert len({variable.name for variable in environment_variables()}) == len(environment_variables())
