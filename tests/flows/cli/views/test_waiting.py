"""How long it takes, and how long it will, where somebody looks."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from flows.cli import durations
from flows.cli.views.live import Pace, live_steps
from flows.cli.views.waiting import said_left, working
from tasks.outcome import StepTime


def test_time_left_is_said_only_where_it_is_known() -> None:
    assert said_left(None, 0.0) == ""
    assert said_left(75.4, 0.0) == "about 1 min 15 s left, if as last time"
    assert said_left(12.0, 9.0) == "about 3 s left, if as last time"
    assert said_left(3.0, 9.0) == "longer than last time"


def test_what_failed_is_not_taken_for_how_long_it_takes(home: Path) -> None:
    with pytest.raises(KeyError), working("verify", "digits", quiet=False):
        raise KeyError
    assert durations.last_seconds(home) == {}
    with working("verify", "digits", quiet=True):
        pass
    assert [*durations.last_seconds(home)] == ["verify digits"]


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"verify digits": "long"}', b"\xff"])
def test_what_is_remembered_and_cannot_be_read_is_nothing(home: Path, kept: bytes) -> None:
    home.mkdir()
    (home / "durations.json").write_bytes(kept)
    assert durations.last_seconds(home) == {}
    durations.remember(home, {"verify digits": 2.0})
    assert durations.last_seconds(home) == {"verify digits": 2.0}


def test_a_run_has_as_long_to_go_as_the_last_whole_one_had(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    now = [0.0]
    monkeypatch.setattr("flows.cli.views.live.time.monotonic", lambda: now[0])

    def step(name: str, ended: float, cached: bool = False) -> None:
        now[0] = ended
        logging.getLogger("slipway").info(
            name, extra={"step": StepTime(name=name, seconds=1, reason="", cached=cached)}
        )

    with live_steps("digits", home, quiet=False):
        assert Pace(home, "digits").ends is None
        step("train", 10.0)
        now[0] = 30.0
    assert durations.last_seconds(home) == {"run digits": 30.0, "run digits: train": 10.0}
    pace = Pace(home, "digits")
    assert pace.ends == 60.0
    now[0] = 32.0  # stored, and there at once: 20 s are left, whatever training took
    pace.ended(StepTime(name="train", seconds=0, reason="", cached=True))
    assert pace.ends == 52.0
    pace.remember()
    assert durations.last_seconds(home)["run digits"] == 30.0, (
        "a run that did half of it says nothing of a whole one"
    )


SLOW = """
import sys, time
from flows.cli.views.waiting import working
with working("verify", "digits", quiet="--json" in sys.argv):
    time.sleep(1.2)
print("held")
"""


@pytest.mark.slow
def test_the_line_is_there_on_a_terminal_alone(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "durations.json").write_text(json.dumps({"verify digits": 9.0}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}

    def run(*words: str, terminal: bool) -> tuple[bytes, str]:
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-c", SLOW, *words],
            env=environment, stdout=subprocess.PIPE, stderr=theirs if terminal else subprocess.PIPE,
        )  # fmt: skip
        os.close(theirs)
        said = b""
        try:
            said = os.read(ours, 1 << 16) if terminal else done.stderr
        except OSError:  # nothing was written
            pass
        os.close(ours)
        return done.stdout, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())

    out, shown = run(terminal=True)
    assert out == b"held\n" and "verify digits" in shown and "s left, if as last time" in shown
    assert run("--json", terminal=True) == (b"held\n", "")
    assert run(terminal=False) == (b"held\n", "")
