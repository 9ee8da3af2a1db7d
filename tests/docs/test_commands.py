"""What the pages say is what happens: every command in them is run here, in their order, or stands below with the reason why not."""

import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from checkout import ROOT
from commands import answer, served, slipway
from pages import PAGES, Block, blocks, plain

from tasks.settings import Settings

WALK = "docs/workloads.md"

OWN_TESTS = ("docs/deploy.md", "docs/goals.md", "docs/own-training.md")
"""Pages that a test file of their own runs."""

ORDER = ("README.md", "docs/quickstart.md", "docs/compression.md", "docs/proof.md", "docs/promotion.md")

NOT_RUN = {
    "README.md": {
        "make run": "is `slipway run digits` after `make env`, which a test runs within itself",
        "make test": "is what runs this",
        "make test-fast": "is what runs this",
        "make lint": "is run by .ci/run",
        "slipway serve digits@champion --port 8080": "docs/serving.md says it too, and asks the server",
        "make docs": "is run by tests/docs/site/test_pages.py, in parts",
        "make bench": "takes an hour",
    },
    "CONTRIBUTING.md": {
        "make test-fast": "is what runs this",
        "make lint": "is run by .ci/run",
        "make test": "is what runs this",
    },
    "docs/quickstart.md": {
        "make run": "as in the README",
        "slipway up": "does not end; tests/infra/platform starts it",
        'curl -s 127.0.0.1:8080/models/churn/invocations -H \'content-type: application/json\' -d \'{"inputs": {"numbers": [[2, 70.5, 3]], "plan": [1]}}\'': "docs/workloads.md asks the same",
        "slipway run churn.py --set 'recipes=[]' --set train.epochs=16": "of the walk's file; digits has a second version here",
        'slipway rollback churn --reason "the older one was better"': "the same",
    },
    "docs/benchmarks.md": {
        'make bench WHAT="loop proof"': "takes a quarter of an hour",
        "make bench-long": "takes hours",
        "make gpu-wheels FOR=3.12": "fetches what a GPU's machine lacks",
        "make gpu": "says nothing where there is no GPU",
    },
    "docs/monitoring.md": {
        "python -m flows.orchestration.automations": "changes the server that tests share; tests/flows/orchestration does it by turns",
    },
    "docs/reuse.md": {
        "python -m flows.pipeline.keys": "tests/flows/pipeline/test_keys.py prints the same",
    },
    "docs/keys.md": {
        'slipway keys revoke 9f86d081884c --from 2026-11-20 --reason "the laptop was stolen"': "of a key that is not there; tests/tasks/promotion/test_keys.py revokes",
        "python -m infra.secrets.signer http://127.0.0.1:8090": "does not end; tests/infra/secrets/test_signer.py asks it",
    },
    "docs/promotion.md": {
        'slipway copy digits@champion --to http://mlflow.prod:5000 --reason "a week without a complaint"': "tests/docs/test_promotion.py runs it, between two servers",
        "export MLFLOW_TRACKING_URI=http://mlflow.prod:5000": "the same",
        "slipway serve digits@champion --port 8080": "the same",
    },
    "docs/platform.md": {
        "make up": "tests/infra/platform/test_local.py starts it",
        "python -m infra.secrets.generate": "writes into the checkout; tests/infra/test_compose.py gives it a folder",
        "docker compose -f infra/compose.yaml up --build --detach": "needs Docker; tests/infra/test_compose.py starts its commands as processes",
        "docker compose -f infra/compose.yaml up --detach --scale worker=3": "needs Docker",
        'export PREFECT_API_URL=http://prefect.internal:4200/api PREFECT_API_AUTH_STRING="$(cat prefect_auth)"': "a server that is not there",
        'export MLFLOW_TRACKING_URI=http://mlflow.internal:5000 MLFLOW_TRACKING_USERNAME=slipway MLFLOW_TRACKING_PASSWORD="$(cat mlflow_password)"': "a server that is not there",
        "export SLIPWAY_STORE=s3://slipway/store": "a store that is not there",
        "prefect work-pool create slipway --type process": "changes the server that tests share",
        "prefect deploy --all --prefect-file infra/prefect.yaml": "changes the server that tests share; the platform's tests apply the file",
        "python -m flows.orchestration.filled_forms": "fills in deployments, which are not there; the platform's tests do",
        "python -m infra.secrets.generate infra/k8s/.secrets": "writes into the checkout",
        "kubectl apply -k infra/k8s": "needs a cluster; tests/infra/test_deploy_files.py checks the files",
    },
}

CODES = {"slipway status": 1}
"""Exit codes other than 0: in the home of these tests nothing is up."""


@pytest.fixture
def environment(tmp_path: Path, prefect_server: str, empty_mlflow_database: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, tmp_path / "home" / "mlflow.db")
    return {
        **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
        "SLIPWAY_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": prefect_server,
        "PYTHONPATH": str(ROOT),
    }


def test_every_block_says_its_language_and_code_in_it_is_code() -> None:
    for block in every_block():
        assert block.language in {"console", "sh", "text", "python", "yaml"}, where(block)
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "yaml":
            Settings.model_validate({**read_yaml(block), "home": ".", "tracking_uri": ""})
        if block.language in {"console", "sh"}:
            assert block.commands, where(block)


@pytest.mark.parametrize("page", NOT_RUN)
def test_what_is_not_run_is_there_to_be_run(page: str) -> None:
    commands = [command for block in blocks(page) for command in block.commands]
    for command in NOT_RUN[page]:
        assert command in commands, f"{page} no longer says {command!r}"
        assert_exists(command)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_commands_do_what_the_pages_say(environment: dict[str, str], program: Path, tmp_path: Path) -> None:
    """All in one home, page by page; what an earlier page says too is done, and what the walk says is run there."""
    done = {command for block in blocks(WALK) for command in block.commands}
    rest = [page for page in PAGES if page not in (*ORDER, WALK, *OWN_TESTS)]
    for page in (*ORDER, *rest):
        with ExitStack() as servers:
            url = ""
            for block in blocks(page):
                for command in block.commands:
                    if command in NOT_RUN.get(page, ()) or command in done:
                        continue
                    done.add(command)
                    if command.startswith("slipway serve"):
                        url = servers.enter_context(served(environment, command))
                    elif command.startswith("curl"):
                        assert_it_reads_a_zero(url, command)
                    else:
                        run(block, command, environment, program, tmp_path)


def run(block: Block, command: str, environment: dict[str, str], program: Path, folder: Path) -> None:
    first, *words = shlex.split(command)
    assert first in ("slipway", "python"), f"{where(block)}: {command!r} is neither run here nor in NOT_RUN"
    if first == "slipway":
        done = slipway(command, environment, folder, [program])
    else:
        done = subprocess.run(
            [sys.executable, *words], env=environment, cwd=folder, capture_output=True, text=True
        )
    assert done.returncode == CODES.get(command, 0), (
        f"{where(block)}: {command}\n{done.stdout}\n{done.stderr}"
    )
    if "--json" in command:
        assert json.loads(done.stdout)["decision"] in ("registered", "unchanged")


def assert_it_reads_a_zero(url: str, command: str) -> None:
    logits = answer(url, shlex.split(command)[-1])["predictions"]["logits"][0]
    assert logits.index(max(logits)) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_walk_prints_what_it_shows(environment: dict[str, str], program: Path, tmp_path: Path) -> None:
    """Every block of the walk in its order, in an empty folder; numbers may differ, words may not."""
    printed, serve, body = "", "", ""
    for block in blocks(WALK):
        for command in block.commands:
            if command.startswith("slipway serve"):
                serve = command
            elif command.startswith("slipway"):
                done = slipway(command, environment, tmp_path, [program])
                printed = done.stdout
                assert done.returncode == (2 if " ✗ " in printed else 0), printed + done.stderr
            elif command.startswith("curl"):
                body = shlex.split(command)[-1]
            else:
                subprocess.run(command, shell=True, check=True, cwd=tmp_path)
        if block.language == "python" and not block.text.startswith("workload = "):
            compile(block.text, WALK, "exec")  # a part of some other file
        elif block.language == "python":
            assert_the_end_of_the_file_is(block.text, (tmp_path / "churn.py").read_text())
        elif block.language == "text" and body:
            with served(environment, serve) as url:
                logits = answer(url, body)["predictions"]["logits"][0]
            shown = {"predictions": {"logits": [logits]}}
            assert plain(block.text) == plain(json.dumps(shown, separators=(",", ":")))
            assert logits[1] > logits[0]
            body = ""
        elif block.language == "text" and not block.text.startswith("flights:"):
            assert plain(block.text) in plain(printed), f"shown:\n{block.text}\nprinted:\n{printed}"
    assert serve


def test_the_readme_shows_the_end_of_the_same_file() -> None:
    walk = next(block.text for block in blocks(WALK) if block.language == "python")
    readme = next(block.text for block in blocks("README.md") if block.language == "python")
    assert [line for line in readme.splitlines() if line not in walk.splitlines()] == []


def assert_the_end_of_the_file_is(shown: str, text: str) -> None:
    """The page's excerpt leaves lines out and adds comments; it changes no code."""
    code = {line.split("  #")[0].strip() for line in text.splitlines()}
    assert [line for line in shown.splitlines() if line.split("  #")[0].strip() not in code] == []


def assert_exists(command: str) -> None:
    """A command that is not run has at least what it names: a target, a module, a file, a variable."""
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^({'|'.join(words[:1])}|.*\b{words[0]}):", (ROOT / "Makefile").read_text(), re.M)
    elif program == "python":
        assert words[0] == "-m" and importlib.util.find_spec(words[1])
    elif program == "export":
        reference = (ROOT / "docs" / "reference.md").read_text()
        for word in words:
            name = word.partition("=")[0]
            assert not name.startswith("SLIPWAY_") or f"`{name}`" in reference, name
    elif program == "slipway":
        assert f"### slipway {words[0]}\n" in (ROOT / "docs" / "reference.md").read_text()
    else:
        assert program in ("curl", "docker", "kubectl", "prefect")
        assert all((ROOT / word).exists() for word in words if word.startswith("infra/"))


def every_block() -> Iterator[Block]:
    for page in PAGES:
        yield from blocks(page)


def read_yaml(block: Block) -> dict[str, object]:
    read = yaml.safe_load(block.text)
    assert isinstance(read, dict), where(block)
    return read


def where(block: Block) -> str:
    return f"{block.page}, line {block.line}"
