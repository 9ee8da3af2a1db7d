"""`slipway backfill`, the real command: killed in the midst it goes on, and nothing outside its own home is asked or touched."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, SUPPORT

from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.settings import Settings

DOTS = str(SUPPORT / "dated_dots.py")
WORDS = [sys.executable, "-m", "flows.cli", "backfill", DOTS]
NOBODY = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    "PREFECT_API_URL": "http://127.0.0.1:1/api",
    "SLIPWAY_SIGNER": "http://127.0.0.1:1",
    "SLIPWAY_SIGNER_KEY": "secret",
    "SLIPWAY_PRIVATE_KEY": "nowhere.pem",
    "SLIPWAY_KEY_PASSPHRASE": "secret",
}
"""A replay that asked any of these would fail: it signs with the key of its own home, and no decision of it is the company's."""


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, **NOBODY, "SLIPWAY_HOME": str(home), "PYTHONPATH": str(ROOT)}


def replayed(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*WORDS, *words], env=environment(home), capture_output=True, text=True, cwd=home.parent
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_replay_that_is_killed_goes_on_and_asks_and_touches_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (tmp_path / "mlflow.yaml").write_text(
        "models: {dated-dots: {approval: manual, moves: ledger, gates: {min_score: 0.65}}}"
    )
    span = ["--from", "2026-05-01", "--to", "2026-07-01", "--json"]
    with (tmp_path / "log").open("wb") as log:
        command = subprocess.Popen(
            [*WORDS, *span], env=environment(home), stdout=log, stderr=log, cwd=tmp_path
        )
        until = time.monotonic() + 300
        while not (begun := [*home.glob("backfills/*/*/work/dated-dots/training/*/*/metrics.jsonl")]):
            assert command.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
        command.send_signal(signal.SIGKILL)
        command.wait()
    again = replayed(home, *span)
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    inside = Path(result["home"])
    assert begun[0].is_relative_to(inside)
    check_periods(result["periods"])
    check_registry(inside)
    assert "<svg" in Path(result["picture"]).read_text()
    outside = {path.name for path in home.iterdir()} - {
        "durations.json"
    }  # how long it took, for the next time
    assert outside == {"backfills"}


def check_periods(periods: list[dict[str, Any]]) -> None:
    """What April taught nobody could hold the gate, which production's own minimum is part of."""
    first, second = periods
    assert [each["decision"] for each in periods] == ["refused", "promoted"]
    assert first["champion"] is first["serving"] is first["serving_score"] is None
    assert "below the minimum of 0.65" in first["why"] and first["score"] > 0.5
    assert (second["version"], second["champion"], second["serving"]) == (2, None, 2)
    assert (second["trained"], second["rows"]) == (151 * 8, 30 * 8)
    assert second["score"] == second["serving_score"] == second["first_score"] > 0.6


def check_registry(home: Path) -> None:
    """A version of each period, and none twice; a ledger without a gap."""
    registry = Registry(Settings(home=home, tracking_uri=f"sqlite:///{home / 'mlflow.db'}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(home))
        ledger = read_ledger(registry, "dated-dots", whole=True)
    assert ledger.problems == () and ledger.serving == 2
    assert [(entry.action, entry.to_version) for entry in ledger.entries] == [("refuse", 1), ("promote", 2)]
    assert len(registry.client.search_model_versions("name='dated-dots'")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "yesterday"], "--from yesterday is no day: write it as 2026-03-01."),
        (["--from", "2025-12-01"], "--from 2025-12-01: dated-dots has no rows before it: name a later day."),
        (["--from", "2026-05-01", "--every", "moon"], "--every moon is no span of time: write day, week,"),
        (["--from", "2026-05-01", "--set", "data.until=2026-06-01"], "a replay says itself until when"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence(
    program: Path, home: Path, words: list[str], said: str
) -> None:
    environment = {**os.environ, "SLIPWAY_HOME": str(home)}
    ended = subprocess.run(
        [program, "backfill", DOTS, *words], env=environment, capture_output=True, text=True, cwd=home.parent
    )
    assert ended.returncode == 2 and ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("slipway: ") and said in line
