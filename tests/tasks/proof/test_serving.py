"""The sea trial: the real server, asked and compared, and gone afterwards."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import proved
import psutil
import pytest
from engines_here import OPENVINO
from helper_processes import sent_to_helpers

from tasks.data.asked import AskedRows
from tasks.data.dataset import asked_rows
from tasks.engines import Engine
from tasks.errors import LostError
from tasks.onnx.engines import title
from tasks.onnx.session import open_session
from tasks.proof import serving
from tasks.proof.serving import serve, try_on_server
from tasks.records import Candidate, Dataset, OnnxModel

Digits = tuple[Dataset, Candidate]


@pytest.fixture(scope="module")
def package(linear_digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tasks.onnx.package import build_folder

    dataset, fp32 = linear_digits
    folder = tmp_path_factory.mktemp("package") / "model"
    build_folder(file_of(fp32), dataset, folder)
    return folder


def file_of(candidate: Candidate) -> OnnxModel:
    assert candidate.onnx is not None
    return candidate.onnx


def rows(dataset: Dataset, count: int) -> AskedRows:
    return asked_rows(dataset, "test", count)


def servers() -> set[int]:
    return {
        p.pid
        for p in psutil.Process(os.getpid()).children(recursive=True)
        if "infra.serving" in " ".join(p.cmdline())
    }


def running(module: str) -> list[int]:
    return [p.pid for p in psutil.Process(os.getpid()).children(recursive=True) if module in p.cmdline()]


def test_numbers_may_go_as_far_as_the_rows_beside_them_move_them_and_words_nowhere() -> None:
    expected, answer = np.array([[0.9, 0.1]], "float32"), [[0.8995, 0.1005]]
    assert [serving._far("p", answer, expected, moves)[1] for moves in (0.0, 1e-3)] == [True, False]
    assert serving._far("label", ["b"], np.array(["a"], object), 1.0)[1]


@pytest.mark.slow
def test_the_server_answers_as_the_runtime_does_and_is_gone(linear_digits: Digits, package: Path) -> None:
    dataset, fp32 = linear_digits
    trial = try_on_server(package, "digits", file_of(fp32).sha256, rows(dataset, 100))
    assert trial.problems == () and trial.requests == 62 and trial.rows == 160
    assert trial.max_abs < 1e-5 and 0 < trial.single_p50_ms <= trial.single_p95_ms
    assert trial.peak_bytes > 10_000_000
    assert servers() == set()


@pytest.mark.slow
def test_a_server_that_serves_other_bytes_is_found_out(
    linear_digits: Digits, package: Path, tmp_path: Path
) -> None:
    dataset, _ = linear_digits
    other = proved.candidate(dataset, tmp_path / "other.onnx", "other", noise=0.1)
    trial = try_on_server(package, "digits", file_of(other).sha256, rows(dataset, 3))
    assert "sea trial: the server says it serves" in trial.problems[0]
    assert servers() == set()


@pytest.mark.slow
def test_a_folder_that_cannot_be_served_is_a_problem_and_not_a_crash(
    linear_digits: Digits, tmp_path: Path
) -> None:
    dataset, fp32 = linear_digits
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    trial = try_on_server(tmp_path, "digits", file_of(fp32).sha256, rows(dataset, 3))
    assert trial.problems[0].startswith("sea trial: the server did not start")
    assert servers() == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "infra.serving",
        "infra.serving.processes.worker",
        "infra.serving.processes.follower",
        "infra.serving.lifecycle.inspector",
    ],
)
def test_a_server_whose_process_is_killed_while_it_starts_says_nothing_about_the_file(
    linear_digits: Digits, package: Path, module: str
) -> None:
    """It recovers, or the trial is lost."""
    dataset, fp32 = linear_digits
    with sent_to_helpers(signal.SIGKILL, module) as hit, suppress(LostError):
        assert try_on_server(package, "digits", file_of(fp32).sha256, rows(dataset, 3)).problems == ()
    assert hit and servers() == set()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["infra.serving", "infra.serving.processes.worker"])
def test_a_server_that_is_killed_while_it_answers_says_nothing_about_the_file(
    linear_digits: Digits, package: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    exchange, asked = serving._exchange, []

    def kill_at_the_third(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 3:
            for pid in running(module):
                os.kill(pid, signal.SIGKILL)
        return exchange(*arguments)

    monkeypatch.setattr(serving, "_exchange", kill_at_the_third)
    with suppress(LostError):
        assert try_on_server(package, "digits", file_of(fp32).sha256, rows(dataset, 100)).problems == ()
    assert len(asked) >= 3 and servers() == set()


@pytest.mark.slow
def test_the_server_is_stopped_when_the_trial_breaks(package: Path) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), serve(package, "digits") as (url, pid):
        assert url.startswith("http://127.0.0.1:") and psutil.pid_exists(pid)
        raise RuntimeError("on purpose")
    assert servers() == set()


@pytest.mark.slow
def test_the_server_goes_when_whoever_started_it_is_killed(package: Path) -> None:
    code = (
        "from pathlib import Path; import sys, time\nfrom tasks.proof.serving import serve\n"
        f"with serve(Path({str(package)!r}), 'digits') as (_, pid): print(pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = psutil.Process(int(process.stdout.readline()))
    family = [server, *server.children(recursive=True)]
    process.kill()
    process.communicate()
    assert len(family) >= 3 and psutil.wait_procs(family, timeout=60)[1] == []


@pytest.mark.slow
def test_a_python_function_that_answers_otherwise_is_found_out(
    reads_dataset: Dataset, tmp_path: Path
) -> None:
    from coded import write_echo

    from tasks.onnx.export import describe
    from tasks.onnx.package import build_folder

    assert reads_dataset.codec is not None
    write_echo(tmp_path / "echo.onnx", reads_dataset.inputs, reads_dataset.codec.sha256)
    file, folder = describe(tmp_path / "echo.onnx", "echo", reads_dataset.inputs, None), tmp_path / "package"
    build_folder(file, reads_dataset, folder)
    session, asked, before = open_session(file.path), rows(reads_dataset, 40), sorted(folder.rglob("*"))
    assert [*serving._of_python_function(folder, session, asked)] == []
    code = folder / "code" / "slipway_codec" / "decoding.py"
    code.write_text(code.read_text().replace("self.codes.get(value, 0)", "self.codes.get(value, 7)"))
    assert [*serving._of_python_function(folder, session, asked)] == [
        "sea trial: MLflow's python_function differs from ONNX Runtime by 7 in plan_again"
    ]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_trial_in_another_engine_is_of_that_engine(
    package: Path, linear_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    of_eight = OPENVINO.model_copy(update={"rows": 8})
    trial = try_on_server(package, "digits", file_of(fp32).sha256, rows(dataset, 70), engine=of_eight)
    assert trial.problems == () and trial.rows == 130
    with monkeypatch.context() as patch:  # a server that says OpenVINO and runs none of the rows in it
        patch.setattr(serving, "_asked_for", lambda engine: ("--engine", f"{engine.name}/512"))
        trial = try_on_server(package, "digits", file_of(fp32).sha256, rows(dataset, 70), engine=of_eight)
    assert [*trial.problems] == [
        f"sea trial: the server ran 0 rows in {title(of_eight)}, and in process 64 of the same are"
    ]
    other = Engine.parse("openvino:bf17")
    trial = try_on_server(package, "digits", file_of(fp32).sha256, rows(dataset, 70), engine=other)
    assert [*trial.problems] == [
        "sea trial: the server runs it in ONNX Runtime: OpenVINO has no precision 'bf17': choose bf16 or fp32"
    ]
