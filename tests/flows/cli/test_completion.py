"""Tab, in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

ASKED = {
    "slipway ro": ["rollback", "rollout"],
    "slipway labels ": ["add", "wanted"],
    "slipway history mo": ["mobile", "mood"],
    "slipway run mine/ch": ["mine/churn.py"],
    "slipway run digits --set train.epo": ["train.epochs="],
    "slipway serve --max-b": ["--max-body", "--max-bytes"],
    "slipway score digits --by v": ["version"],
}

BASH = """
source <(slipway completion bash)
COMP_WORDS=($ASKED); [ "${ASKED: -1}" = " " ] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_slipway_completion slipway
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
autoload -Uz compinit && compinit -u
source <(slipway completion zsh)
_arguments() { print -r -- "$@" }
words=(${(z)ASKED}); [[ $ASKED == *' ' ]] && words+=('')
CURRENT=$#words
_slipway_completion
"""

FISH = """
slipway completion fish | source
complete --do-complete "$ASKED"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """`slipway` on the path, and a home where two models ran."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "slipway"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flows.cli "$@"\n')
    program.chmod(0o755)
    for name in ("mobile", "mood"):
        (tmp_path / "home" / "work" / name).mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "churn.py").touch()
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLIPWAY_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
    }


def words(shell: list[str], environment: dict[str, str], asked: str, folder: Path) -> list[str]:
    done = subprocess.run(
        shell, env={**environment, "ASKED": asked}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "wanted"), ASKED.items(), ids=ASKED)
def test_bash_completes(environment: dict[str, str], tmp_path: Path, asked: str, wanted: list[str]) -> None:
    assert words(["bash", "--norc", "-c", BASH], environment, asked, tmp_path) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "script"), [("zsh", ZSH), ("fish", FISH)])
def test_other_shells_complete_too(
    environment: dict[str, str], tmp_path: Path, shell: str, script: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    said = " ".join(words([shell, "-c", script], environment, "slipway ro", tmp_path))
    assert "rollback" in said and "rollout" in said and "promote" not in said


@pytest.mark.slow
def test_asking_imports_nothing_heavy_and_makes_no_home(environment: dict[str, str], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "home")
    code = (
        "import sys\nfrom flows.cli import __main__ as cli\nsys.argv = ['slipway']\n"
        "try:\n    cli.main()\nfinally:\n"
        "    print([name for name in ('torch', 'mlflow', 'prefect', 'pandas', 'numpy', 'psutil') if name in sys.modules])"
    )
    asked = {"_SLIPWAY_COMPLETE": "complete_bash", "COMP_WORDS": "slipway history di", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **asked},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["digits", "[]"], done.stderr
    assert not (tmp_path / "home").exists()
