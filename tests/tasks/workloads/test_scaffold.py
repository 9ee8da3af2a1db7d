"""`slipway new`: a file of each sort that runs as it stands, and a question where nothing was said."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from tasks.config import Train
from tasks.data.dataset import prepare
from tasks.preflight.check import check
from tasks.system.files import sha256_of
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scaffold import SORTS, new_workload
from tasks.workloads.workload import Workload

ASKED = {
    "text": "message str[batch]",
    "image": "photo str[batch]",
    "forecast": "past float32[batch, 48]",
}
"""What a request brings to each; the other sorts are tests/tasks/preflight/test_check.py's."""

NEEDS = {"text": "tokenizers", "image": "PIL"}


@pytest.mark.slow
@pytest.mark.parametrize("like", ASKED)
def test_a_new_file_holds_in_every_part_and_trains(like: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(like, "torch"))
    assert new_workload(tmp_path / "mine.py", like) == "mine"
    reference = str(tmp_path / "mine.py")
    checkup = check(reference, Workload.defaults, tmp_path / "home")
    assert {part.status for part in checkup.findings} == {"held"}, checkup.findings
    assert checkup.request is not None and str(checkup.inputs[0]) == ASKED[like]
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, tmp_path / "home" / "datasets")
    checkpoint = train(reference, dataset, Train(epochs=1, threads=1, lr=2e-3), tmp_path / "training")
    assert checkpoint.epoch == 1 and checkpoint.score is not None


def test_each_sort_has_a_template_and_each_template_its_sort() -> None:
    folder = ROOT / "tasks" / "workloads" / "templates"
    assert {path.stem for path in folder.glob("[!_]*.py")} == {*SORTS}
    assert len({name for name, _ in SORTS.values()}) == len(SORTS)


def test_an_onnx_file_that_is_there_is_the_one_that_is_served(tmp_path: Path) -> None:
    theirs = tmp_path / "mine.onnx"
    theirs.write_bytes(b"theirs")
    before = sha256_of(theirs)
    new_workload(tmp_path / "mine.py", "onnx")
    assert sha256_of(theirs) == before and 'with_name("mine.onnx")' in (tmp_path / "mine.py").read_text()


def typed(answers: str, folder: Path) -> tuple[int, str]:
    """What a terminal shows of `slipway new` and these answers, and the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "new"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(theirs)
    os.write(ours, answers.encode())
    shown, _ = process.communicate(timeout=120)
    os.close(ours)
    return process.returncode, shown


@pytest.mark.slow
def test_on_a_terminal_it_asks_and_elsewhere_it_is_a_table(tmp_path: Path) -> None:
    code, shown = typed("4\n", tmp_path)
    assert code == 0 and [path.name for path in tmp_path.iterdir()] == ["visitors.py"], shown
    assert all(f"{number}  {sort}" in shown for number, sort in enumerate(SORTS, 1))
    code, shown = typed("9\n", tmp_path)
    assert code == 2 and "9 is none of them: choose 1 to 6." in shown and "Traceback" not in shown
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "new"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "churn.py: the workload churn" in done.stdout, done.stderr
