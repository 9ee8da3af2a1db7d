"""A stored result is taken with the files that it names: those of this home, as they were made."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline.context import RunContext
from flows.pipeline.runner import AROUND, StepRunner, brought_home, files_are_gone
from tasks.records import Candidate, OnnxModel
from tasks.reporting.cost import total
from tasks.settings import Settings
from tasks.system.files import sha256_of


def candidate(home: Path) -> Candidate:
    """A stored step's result, and its files."""
    folder = home / "work" / "toy" / "fp32-1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a model")
    (folder / "model.reference.npy").write_bytes(b"its answers")
    onnx = OnnxModel(
        path=folder / "model.onnx",
        sha256=sha256_of(folder / "model.onnx"),
        size_bytes=7,
        opset=18,
        exporter="hand",
        inputs=(),
        outputs=(),
        reference=folder / "model.reference.npy",
    )
    return Candidate(name="fp32", onnx=onnx)


def paths(value: Candidate) -> list[Path]:
    assert value.onnx is not None and value.onnx.reference is not None
    return [value.onnx.path, value.onnx.reference]


@pytest.mark.parametrize("original_stays", [True, False])
def test_a_result_in_a_copied_home_names_the_copys_files(tmp_path: Path, original_stays: bool) -> None:
    home, copy = tmp_path / "home", tmp_path / "elsewhere" / "copy"
    stored = candidate(home)
    shutil.copytree(home, copy)
    if not original_stays:
        shutil.rmtree(home)
    here = brought_home(stored, copy)
    assert all(path.is_relative_to(copy) for path in paths(here)) and not files_are_gone(here, copy)
    assert brought_home(here, copy) == here


def test_a_file_that_did_not_come_along_is_gone_though_the_original_has_it(tmp_path: Path) -> None:
    stored = candidate(tmp_path / "home")
    assert not files_are_gone(stored, tmp_path / "home")
    here = brought_home(stored, tmp_path / "copy")
    assert here == stored and files_are_gone(here, tmp_path / "copy")


def test_a_file_that_was_altered_is_gone_wherever_it_lies(tmp_path: Path) -> None:
    stored = candidate(tmp_path / "home")
    paths(stored)[0].write_bytes(b"another")
    assert files_are_gone(stored, tmp_path / "home")


def test_a_home_by_another_name_is_the_same_home(tmp_path: Path) -> None:
    stored = candidate(tmp_path / "home")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    assert not files_are_gone(brought_home(stored, tmp_path / "link"), tmp_path / "link")


def test_the_first_run_is_charged_with_all_that_its_process_did_and_another_with_what_is_done_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imports, Prefect's server and MLflow are two fifths of a small run; what is done between two runs is neither's."""
    monkeypatch.setattr(StepRunner, "_first", True)
    context = RunContext(workload="toy", model="toy", settings=Settings(home=tmp_path, tracking_uri=""))
    first = StepRunner(context)  # which had nothing to do, so that nobody asked for its times
    busy = time.process_time() + 0.5
    while time.process_time() < busy:
        pass
    second = StepRunner(context)
    code = "import sys, time\nwhile time.process_time() < 0.25: pass\nprint(flush=True); sys.stdin.read()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], **pipes
    ) as child:  # as Prefect's server, which still runs
        assert child.stdout is not None and child.stdout.readline()
        charged = total(second.times)
        child.communicate()
    assert charged is not None and 0.15 < charged.cpu_seconds < 0.5 and charged.wall_seconds < 30
    whole = total(first.times)
    assert first.times[-1].name == AROUND and whole is not None and whole.cpu_seconds > 0.75
