"""A run's steps in the terminal, as they end."""

import logging
from pathlib import Path

import pytest

from flows.cli.views.live import live_steps
from tasks.outcome import StepTime

log = logging.getLogger("slipway")


def run_two_steps() -> None:
    for step in (
        StepTime(name="train", seconds=12.34, reason="train.epochs 3 → 20", cached=False),
        StepTime(name="export", seconds=0.1, reason="unchanged", cached=True),
    ):
        log.info("%s ran", step.name, extra={"step": step})
    log.warning("MLflow could not be told [why]")


def test_a_step_is_a_line_that_says_how_long_it_took_and_why(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_steps("digits", home, quiet=False):
        run_two_steps()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "digits",
        " ✓ train                     12.3 s  train.epochs 3 → 20",
        " = export                     0.1 s  unchanged",
        " ! MLflow could not be told [why]",
    ]


def test_with_json_only_what_goes_wrong_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with live_steps("digits", home, quiet=True):
        run_two_steps()
    assert capsys.readouterr().err.splitlines() == [" ! MLflow could not be told [why]"]
