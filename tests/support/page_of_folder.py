"""The commands of an attested folder's page, run as a stranger runs them: by a shell, or here in this process, which is quicker."""

import contextlib
import io
import os
import re
import subprocess
from pathlib import Path

from click.testing import CliRunner

_BLOCK = re.compile(r"^## (\d)\. .*?^```sh\n(.*?)^```$", re.S | re.M)

_PYTHON = re.compile(r"python - <<'END'\n(.*)^END$", re.S | re.M)


def steps(page: str) -> dict[int, str]:
    """The commands of each numbered section."""
    return {int(number): commands for number, commands in _BLOCK.findall(page)}


def shell(commands: str, folder: Path, key: str) -> str | None:
    """What fails, by a shell; None where all holds."""
    words = ["bash", "-e", "-o", "pipefail", "-c", commands]
    where = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    where["KEY"] = key  # and no PYTHONPATH, for a stranger has none
    done = subprocess.run(words, cwd=folder, env=where, capture_output=True, text=True, errors="replace")
    return None if done.returncode == 0 else f"{done.stdout}{done.stderr}" or "failed"


def refused_by(page: str, folder: Path, key: str) -> tuple[int, str] | None:
    """The first section from the second to the fifth that something in `folder` does not pass, and what it says; None when all pass."""
    commands, before = steps(page), Path.cwd()
    os.chdir(folder)
    try:
        for number in (2, 3, 4, 5):
            run = {4: _model_signing, 5: _python}.get(number)
            why = shell(commands[number], folder, key) if run is None else run(commands[number])
            if why is not None:
                return number, why
    finally:
        os.chdir(before)
    return None


def _model_signing(commands: str) -> str | None:
    from model_signing import _cli

    for line in commands.strip().splitlines():
        program, *words = line.split()
        assert program.endswith("/model_signing")
        done = CliRunner().invoke(_cli.main, ["--log-level", "error", *words])
        if done.exit_code:
            return done.output
    return None


def _python(commands: str) -> str | None:
    found = _PYTHON.search(commands)
    assert found is not None
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(compile(found[1], "page", "exec"), {})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if "tests:" in said.getvalue() else "it says nothing of tests"
