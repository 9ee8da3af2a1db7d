"""What the README says is what happens: its commands are run here, in its order, in one home."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT
from commands import answer, served, slipway

README = (ROOT / "README.md").read_text()
WALK = re.findall(r"^### Bring your own model\n.*?(?=^### )", README, re.S | re.M)[0]


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    return [line.split("#")[0].strip()[2:] for block in blocks for line in block.splitlines()]


COMMANDS = commands(README.replace(WALK, ""))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
        "SLIPWAY_HOME": str(tmp_path_factory.mktemp("readme") / "home"),
        "PREFECT_API_URL": prefect_server,
    }


def test_its_make_targets_exist() -> None:
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert targets and all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert {command.split()[0] for command in COMMANDS} == {"make", "slipway"}


def test_the_files_of_its_tree_exist() -> None:
    tree = README.split("## How it works")[1].split("```")[1]
    folder, missing = "", []
    for line in tree.splitlines()[1:]:
        names = [word.rstrip(",;:") for word in re.findall(r"[\w./]+\.(?:py|yaml)|^[\w/]+/", line[:21])]
        if not line.startswith(" "):
            folder = names[0] if names[0].endswith("/") else ""
            names = [] if folder else names
        missing += [
            folder + name
            for name in names
            if not (ROOT / folder / name).exists() and not (ROOT / "tasks" / name).exists()
        ]
    assert missing == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_commands_do_what_it_says(environment: dict[str, str]) -> None:
    for command in COMMANDS:
        if command.startswith("slipway ") and not command.startswith("slipway serve"):
            done = slipway(command, environment)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            if "--json" in command:
                assert json.loads(done.stdout)["decision"] == "registered"
    assert "unchanged" in slipway("slipway run digits", environment).stdout
    with served(environment, next(c for c in COMMANDS if c.startswith("slipway serve"))) as url:
        request = re.search(r"```sh\n(curl .*?)```", README, re.S)
        assert request is not None
        body = shlex.split(request[1])[-1]
        assert (
            answer(url, body)["predictions"]["logits"][0].index(
                max(answer(url, body)["predictions"]["logits"][0])
            )
            == 0
        )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_walk_prints_what_it_shows(environment: dict[str, str], tmp_path: Path) -> None:
    """Every block of the walk in its order, in an empty folder; numbers may differ, words may not."""
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    blocks = re.findall(r"```(console|text|sh|python)\n(.*?)```", WALK, re.S)
    printed, url, body = "", "", ""
    for kind, text in blocks:
        if kind == "console" and "slipway serve" in text:
            continue
        if kind == "console":
            done = slipway(text.strip()[2:], environment, tmp_path)
            printed = done.stdout
            assert done.returncode == (2 if " ✗ " in printed else 0), printed + done.stderr
        elif kind == "sh" and text.startswith("sed"):
            subprocess.run(text, shell=True, check=True, cwd=tmp_path)
        elif kind == "sh":
            body = shlex.split(text)[-1]
        elif kind == "text" and not body:
            assert plain(text) in plain(printed), f"shown:\n{text}\nprinted:\n{printed}"
        elif kind == "text":
            with served(environment, next(c for c in commands(WALK) if "serve" in c)) as url:
                logits = answer(url, body)["predictions"]["logits"][0]
            assert plain(text) == plain(
                json.dumps({"predictions": {"logits": [logits]}}, separators=(",", ":"))
            )
            assert logits[1] > logits[0]
        else:
            assert_the_end_of_the_file_is(text, (tmp_path / "churn.py").read_text())
    assert url


def plain(text: str) -> str:
    """Without what differs from run to run: numbers, digests, and the space that they take."""
    return re.sub(r"\s+", "", re.sub(r"-?\d[\d.,]*", "#", re.sub(r"[0-9a-f]{32,}", "#", text)))


def assert_the_end_of_the_file_is(shown: str, text: str) -> None:
    """The README's excerpt leaves lines out and adds comments; it changes no code."""
    code = {line.split("  #")[0].strip() for line in text.splitlines()}
    assert [line for line in shown.splitlines() if line.split("  #")[0].strip() not in code] == []
