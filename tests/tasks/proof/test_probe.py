"""A file in a fresh process: what the file does is found out, what happens to the process says nothing about the file."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from failed_state import FailedState
from helper_processes import sent_to_helpers

from flows.pipeline.binding import worth_a_retry
from tasks.errors import LostError
from tasks.proof import probe as asking
from tasks.proof.probe import probe
from tasks.proof.validation import validate
from tasks.records import Candidate, Dataset

Digits = tuple[Dataset, Candidate]

PROBE = "tasks.proof.first_run"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_probe_that_was_killed_says_nothing_about_the_file_and_is_asked_again(
    linear_digits: Digits, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"whoever started the tests ignores {number.name}, and so do their children (nohup)")
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    with (
        sent_to_helpers(number, PROBE) as hit,
        pytest.raises(LostError, match=f"was ended by {number.name}") as lost,
    ):
        probe(fp32.onnx.path, dataset, "validation", 8)
    assert hit and worth_a_retry(None, None, FailedState(lost.value))


def test_a_candidate_whose_probe_was_killed_gets_no_report(linear_digits: Digits, tmp_path: Path) -> None:
    dataset, fp32 = linear_digits
    with sent_to_helpers(signal.SIGKILL, PROBE), pytest.raises(LostError):
        validate("digits", dataset, fp32, fp32, tmp_path)


def test_a_crash_that_a_second_process_does_not_see_is_not_the_files(linear_digits: Digits) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    with sent_to_helpers(signal.SIGSEGV, PROBE) as hit:
        answer = probe(fp32.onnx.path, dataset, "validation", 8)
    assert hit and answer.problem is None and answer.load_seconds is not None


def test_a_crash_that_a_second_process_sees_too_is_the_files(linear_digits: Digits) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    with sent_to_helpers(signal.SIGSEGV, PROBE, times=2) as hit:
        answer = probe(fp32.onnx.path, dataset, "validation", 8)
    assert len(hit) == 2 and answer.problem is not None and "SIGSEGV, twice" in answer.problem


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_time_that_runs_out_is_the_files_only_if_the_process_was_at_work(
    linear_digits: Digits, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    monkeypatch.setattr(asking, "_SECONDS", 2.0)
    if works:
        monkeypatch.setattr(
            "psutil.Process.cpu_times", lambda process: (1.5, 0.5)
        )  # a busy machine gives less
        monkeypatch.setattr(asking, "_MODULE", "timeit")
        monkeypatch.setattr(asking, "_WORDS", ("-n", "1", "while True: pass"))
        answer = probe(fp32.onnx.path, dataset, "validation", 8)
        assert answer.problem is not None and "within 2 s" in answer.problem
    else:
        with sent_to_helpers(signal.SIGSTOP, PROBE), pytest.raises(LostError, match="stood still"):
            probe(fp32.onnx.path, dataset, "validation", 8)


def test_the_process_that_runs_a_file_in_onnx_runtime_imports_no_records(linear_digits: Digits) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    inputs = {spec.name: str(dataset.folder / "test" / f"{spec.name}.npy") for spec in dataset.inputs}
    question = {"path": str(fp32.onnx.path), "inputs": inputs, "rows": 2, "engine": {"name": "onnxruntime"}}
    code = "import sys\nfrom tasks.proof.first_run import main\nmain()\nprint('pydantic' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "False" and "load_seconds" in said.stdout


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Processes that are started from now on may have so many bytes of address space."""

    def limit(size: int) -> None:
        popen = asking.subprocess.Popen
        words = ["prlimit", f"--as={size}"]
        monkeypatch.setattr(
            asking.subprocess, "Popen", lambda command, **how: popen([*words, *command], **how)
        )

    return limit


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [40, 80, 150, 170])
def test_a_process_that_is_short_of_memory_says_nothing_bad_of_the_file(
    linear_digits: Digits, limited: Callable[[int], None], megabytes: int
) -> None:
    """Wherever it runs out: in the interpreter, in a library that is loaded, in ONNX Runtime, or nowhere after all."""
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    limited(megabytes << 20)
    with suppress(LostError):
        assert probe(fp32.onnx.path, dataset, "validation", 8).problem is None


@pytest.mark.slow
def test_a_file_that_fills_the_memory_fills_what_it_may_have_and_nothing_is_known_of_it(
    tmp_path: Path, limited: Callable[[int], None]
) -> None:
    """A ten-line file that asks for 4 GB."""
    graph = onnx.parser.parse_graph(
        "filling (float[n, 4] x) => (float y) <int64[1] size = {1000000000}>"
        "{ all = ConstantOfShape(size) sum = ReduceSum(all) some = ReduceSum(x) y = Add(sum, some) }"
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "filling.onnx")
    (tmp_path / "validation").mkdir()
    np.save(tmp_path / "validation" / "x.npy", np.zeros((8, 4), np.float32))
    dataset: Any = SimpleNamespace(folder=tmp_path, inputs=[SimpleNamespace(name="x")])
    limited(1 << 30)
    with pytest.raises(LostError, match=r"no more memory in the 1\.1 GB .* nothing is known of the file"):
        probe(tmp_path / "filling.onnx", dataset, "validation", 8)
