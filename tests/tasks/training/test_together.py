"""Two CPU processes under torchrun train one model, resume it, and only the first of them writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkout import ROOT, SUPPORT

from tasks.records import Checkpoint
from tasks.training.checkpoint import load_weights
from tasks.training.metrics import read_metrics

SCRIPT = SUPPORT / "train_in_two_processes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", "--nproc-per-node", "2", str(SCRIPT), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    return folder


def checkpoint(folder: Path, name: str, rank: int = 0) -> Checkpoint:
    return Checkpoint.model_validate_json((folder / f"{name}-{rank}.json").read_text())


@pytest.mark.slow
def test_two_processes_compute_what_one_does(folder: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    import train_in_two_processes

    sys.path.remove(str(SCRIPT.parent))
    alone = load_weights(train_in_two_processes.run(tmp_path, dropout=0.0))
    together = load_weights(checkpoint(folder, "known"))
    assert list(together) == list(alone)
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_both_processes_return_the_same_and_one_has_written(folder: Path) -> None:
    first, second = checkpoint(folder, "whole", 0), checkpoint(folder, "whole", 1)
    assert first == second
    steps = [metric.step for metric in read_metrics(first.metrics) if metric.key == "train/loss"]
    assert steps == list(range(1, 11))


@pytest.mark.slow
def test_two_processes_resume_to_the_bit(folder: Path) -> None:
    whole, resumed = checkpoint(folder, "whole"), checkpoint(folder, "resumed")
    assert whole.path != resumed.path
    assert whole.sha256 == resumed.sha256


@pytest.mark.slow
def test_no_thread_of_their_group_is_there_when_python_ends(folder: Path) -> None:
    """Else gloo's threads meet an interpreter that is gone, and one in a dozen of trainings that succeeded on a busy machine ends with SIGABRT."""
    assert [(folder / f"threads-{rank}").read_text() for rank in (0, 1)] == ["", ""]
