"""Ctrl-C, as a terminal sends it: to every process of the group. One line, code 130, and nothing left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import serving_models as models
from checkout import ROOT

PATIENCE = 240

IMPORTED = "import time:"
"""How a line of `python -X importtime` begins."""


def interrupted(
    words: Sequence[str], home: Path, *, at: str = "", imported: str = ""
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that is interrupted when it has said `at`, or has `imported` this module.

    Never after a time: what a slow machine has done by then is another thing, or nothing but Python's own start.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SLIPWAY_HOME": str(home), "PREFECT_API_URL": ""}
    home.mkdir(exist_ok=True)
    out, err = home / "out", home / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        watching = ["-X", "importtime"] if imported else []
        command = [sys.executable, *watching, "-m", "flows.cli", *words]
        process = subprocess.Popen(
            command, env=environment, stdout=stdout, stderr=stderr, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a suite in the background ignores
        )  # fmt: skip
    watched, end = psutil.Process(process.pid), time.monotonic() + PATIENCE
    until = re.compile(
        rf"{IMPORTED}.*\| +{re.escape(imported)}$" if imported else re.escape(at), re.MULTILINE
    )
    while not until.search(out.read_text() + err.read_text()):
        assert time.monotonic() < end and process.poll() is None, (
            "the command ended before it was interrupted"
        )
        time.sleep(0.02)
    children = watched.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    code = process.wait(PATIENCE)
    assert not psutil.wait_procs(children, timeout=30)[1]
    said = [line for line in err.read_text().splitlines(keepends=True) if not line.startswith(IMPORTED)]
    return code, out.read_text(), "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "imported",
    ["typer", "flows.cli.failures", "pydantic", "numpy", "pandas", "onnxruntime"],
)  # amid the command's own imports, its libraries', and its work
def test_a_command_that_is_interrupted_says_so_in_one_line(imported: str, tmp_path: Path) -> None:
    code, out, err = interrupted(["check", "digits"], tmp_path / "home", imported=imported)
    assert (code, out) == (130, "")
    assert err == "slipway: stopped.\n"


@pytest.mark.parametrize(
    "work",
    [
        "exec('raise_signal(SIGINT)')",  # of which `python -m` remembers a plain KeyboardInterrupt
        "try: raise_signal(SIGINT)\nexcept BaseException: raise ValueError('a validator was not built') from None",
    ],
)
def test_an_interrupt_is_one_line_whatever_a_library_makes_of_it(work: str, tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(
        "import sys, types\nfrom signal import SIGINT, raise_signal\nfrom flows.cli.__main__ import main\n"
        f"def run():\n    exec({work!r}, globals())\n"
        "sys.modules['flows.cli.app'] = types.SimpleNamespace(run=run)\nmain()"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "stopped"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "slipway: stopped.\n")


@pytest.mark.slow
def test_a_server_ends_in_order(tmp_path: Path) -> None:
    folder = models.save(tmp_path / "digits", models.mlp(), {"x": [[0.5] * 64]})
    words = ["serve", f"digits={folder}", "--port", "0", "--log-level", "error"]
    code, out, err = interrupted(words, tmp_path / "home", at='"url"')
    assert code == 130 and out.count("\n") == 1 and err == "slipway: stopped.\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_says_how_it_goes_on(tmp_path: Path) -> None:
    code, out, err = interrupted(["run", "digits"], tmp_path / "home", at="✓ prepare")
    assert (code, out) == (130, "")
    *steps, last = err.splitlines()
    assert last.startswith("slipway: stopped; the same command goes on from the last checkpoint")
    assert steps[0] == "digits" and all(line.startswith(" ✓ ") for line in steps[1:])
