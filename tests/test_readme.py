"""What the README says is what happens: its commands are run here, in its order, in one home."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()[2:]
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> dict[str, str]:
    return {
        **os.environ,
        "SLIPWAY_HOME": str(tmp_path_factory.mktemp("readme") / "home"),
        "PREFECT_API_URL": prefect_server,
    }


def slipway(command: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "flows.cli", *shlex.split(command)[1:]]
    return subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT)


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


class served:
    """The README's server on a free port, ended by a signal."""

    def __init__(self, environment: dict[str, str], command: str) -> None:
        words = shlex.split(command.replace("8080", "0"))[1:]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words], env=environment, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> str:
        assert self.process.stdout is not None
        return str(json.loads(self.process.stdout.readline())["url"])

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def answer(url: str, body: str) -> "dict[str, dict[str, list[list[float]]]]":
    import urllib.request

    request = urllib.request.Request(
        f"{url}/invocations", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        found: dict[str, dict[str, list[list[float]]]] = json.load(reply)
        return found
