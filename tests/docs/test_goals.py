"""The page on goals, to the letter: every goal is in its table, and what it asks of a server is answered as it shows."""

import inspect
import json
import os
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from checkout import ROOT
from commands import answer, served, slipway
from pages import blocks

from tasks.goals import kinds
from tasks.workloads import Rows

PAGE = "docs/goals.md"

TEXT = (ROOT / PAGE).read_text()


def test_each_goal_and_each_part_of_rows_has_its_line() -> None:
    goals = {name for name, value in vars(kinds).items() if name[0].isupper() and inspect.isfunction(value)}
    assert set(re.findall(r"^\| `(\w+)\(", TEXT, re.M)) == goals
    assert set(re.findall(r"^\| `(\w+)=", TEXT, re.M)) == {field.name for field in fields(Rows)}


@pytest.mark.platform
@pytest.mark.timeout(1800)
def test_a_request_is_answered_in_the_words_that_are_shown(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="pip install 'slipway[stress]'")
    where = {**os.environ, "SLIPWAY_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    run, serve, curl = (command for block in blocks(PAGE) for command in block.commands)
    done = slipway(run, where, tmp_path)
    if "is not installed" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    with served(where, serve) as url:
        said = answer(url, shlex.split(curl)[-1])["predictions"]["label"][0]
    shown = next(block.text for block in blocks(PAGE) if block.language == "text")
    tags = json.loads(re.findall(r'\[("O".*?), …', shown)[0].join("[]"))
    assert said[: len(tags)] == tags
