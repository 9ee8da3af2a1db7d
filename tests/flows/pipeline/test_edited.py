"""The whole command on a copy of this tree that is edited between runs: nothing stale is kept, and nothing is done for nothing."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkout import BENCH, ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_renamed_module_is_unchanged_and_a_changed_constant_trains_again(
    tmp_path: Path, empty_mlflow_database: Path, prefect_server: str, program: Path
) -> None:
    for folder in ("tasks", "infra", "flows"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    measuring = tmp_path / "tasks" / "proof" / "validation.py"
    measuring.write_text(measuring.read_text().replace("MEASURE_SECONDS = 0.5", "MEASURE_SECONDS = 0.02"))
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copy(empty_mlflow_database, home / "mlflow.db")

    def run() -> dict[str, Any]:
        words = [str(program), "run", str(BENCH / "dots.py"), "--json"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SLIPWAY_HOME": str(home)}
        environment["PREFECT_API_URL"] = prefect_server
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    def reasons(outcome: dict[str, Any]) -> dict[str, str]:
        return {step["name"]: step["reason"] for step in outcome["steps"]}

    first = run()
    assert first["version"] == 1 and reasons(first)["train"] == "first run"

    (tmp_path / "tasks" / "training" / "loop.py").rename(tmp_path / "tasks" / "training" / "laps.py")
    for path in tmp_path.rglob("*.py"):
        path.write_text(
            re.sub(r"\btasks\.training\.loop\b", "tasks.training.laps", path.read_text()) + "\n# read\n"
        )
    moved = run()
    assert moved["decision"] == "unchanged" and moved["digest"] == first["digest"]

    trained = len(list(home.rglob("checkpoint.json")))
    optimizer = tmp_path / "tasks" / "training" / "optimizer.py"
    text = optimizer.read_text()
    assert "/ 2" in text
    optimizer.write_text(text.replace("/ 2", "/ 2.5", 1))
    edited = run()
    assert edited["version"] == 2 and re.fullmatch(r"optimizer\.\w+ changed", reasons(edited)["train"])
    assert len(list(home.rglob("checkpoint.json"))) == trained + 1
