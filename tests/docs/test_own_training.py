"""The page on own training, done to the letter in an empty folder: three scripts, each to a champion that answers."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT
from commands import answer, served, slipway
from pages import Block, blocks

from tasks.config import Data, Train
from tasks.data.dataset import prepare
from tasks.preflight.kill import Order, Result, train_apart

PAGE = "docs/own-training.md"

FILES = [block for block in blocks(PAGE) if block.language == "python"]

NEEDS = {"lightned": "pytorch_lightning", "trained": "accelerate"}


def name_of(block: Block) -> str:
    return block.text.splitlines()[0].removeprefix("# ").removesuffix(".py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files in one folder, with the home of all its commands."""
    folder = tmp_path_factory.mktemp("own")
    done = slipway("slipway new churn.py", environment(folder), folder)
    assert done.returncode == 0, done.stderr
    for block in FILES:
        (folder / f"{name_of(block)}.py").write_text(block.text)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "SLIPWAY_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}


def test_the_page_has_a_file_for_each_way() -> None:
    assert [name_of(block) for block in FILES] == [
        "mixed",
        "looped",
        "lit",
        "lightned",
        "trained",
        "elsewhere",
        "shipped",
    ]


@pytest.mark.platform
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["looped", "lightned", "trained"])
def test_a_script_becomes_a_champion_that_answers(name: str, folder: Path) -> None:
    pytest.importorskip(NEEDS.get(name, "torch"))
    said, where = "", environment(folder)
    words = [c for b in blocks(PAGE) if name in b.text or b.language == "sh" for c in b.commands]
    mine = [c for c in words if name in c] + [next(c for c in words if c.startswith("curl"))]
    assert [c.split()[1] for c in mine[:3]] == ["check", "run", "serve"]
    for command in mine[:2]:
        done = slipway(command, where, folder)
        said += done.stdout
        assert done.returncode == 0, done.stdout + done.stderr
    assert "a killed training resumes to the bit" in said and "promoted in" in said, said
    with served(where, mine[2]) as url:
        logits = answer(url, shlex.split(mine[3])[-1])["predictions"]["logits"][0]
    assert logits[1] > logits[0], "she leaves"


@pytest.mark.platform
@pytest.mark.timeout(1800)
def test_weights_that_were_trained_elsewhere_are_proved_and_served_as_they_came(folder: Path) -> None:
    where = environment(folder)
    script, run, serve = next(b.commands for b in blocks(PAGE) if "elsewhere.py" in b.text and b.commands)
    subprocess.run([sys.executable, *script.split()[1:]], env=where, cwd=folder, check=True)
    done = slipway(run, where, folder)
    assert done.returncode == 0 and "promoted in" in done.stdout, done.stdout + done.stderr
    (evidence,) = (folder / "home").glob("work/churn-shipped/package/evidence.json")
    said = json.loads(evidence.read_text())
    digest = hashlib.sha256((folder / "churn.pt").read_bytes()).hexdigest()
    assert digest in [material["sha256"] for material in said["materials"]]
    asked = next(c for b in blocks(PAGE) if b.language == "sh" for c in b.commands)
    with served(where, serve) as url:
        logits = answer(url, shlex.split(asked)[-1])["predictions"]["logits"][0]
    assert logits[1] > logits[0], "she leaves"


@pytest.mark.platform
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["lightned", "trained"])
def test_a_training_by_another_library_that_is_killed_twice_ends_with_the_same_bytes(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(NEEDS[name])
    path = folder / f"{name}.py"
    monkeypatch.syspath_prepend(str(folder))
    dataset = prepare(str(path), Data(), tmp_path / "data")

    def train(kept: str, kill: bool) -> Result | None:
        order = Order(
            reference=str(path),
            dataset=dataset,
            train=Train(epochs=4),
            model=None,
            folder=tmp_path / kept,
            kill=kill,
        )
        return train_apart([order], name)[0]

    whole = train("whole", kill=False)
    assert [train("killed", kill=True) for _ in range(2)] == [None, None]
    resumed = train("killed", kill=False)
    assert whole is not None and resumed is not None
    assert resumed.resumed and (resumed.best, resumed.last) == (whole.best, whole.last)
