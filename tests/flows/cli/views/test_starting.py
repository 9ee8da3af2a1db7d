"""`slipway up` as it comes up, on stderr."""

from pathlib import Path

import pytest

from flows.cli import durations
from flows.cli.views.starting import starting


def test_each_part_that_answers_is_a_line_and_how_long_all_of_it_took_is_known_the_next_time(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    now = [0.0]
    monkeypatch.setattr("flows.cli.views.starting.time.monotonic", lambda: now[0])

    def start() -> list[str]:
        with starting(home, quiet=False) as answered:
            for part in ("mlflow", "prefect"):
                now[0] += 14.0
                answered(part)
        out, said = capsys.readouterr()
        assert out == ""
        return said.splitlines()

    assert start() == [f"Starting; logs are in {home / 'logs'}", " ✓ mlflow    14.0 s", " ✓ prefect   28.0 s"]
    assert durations.last_seconds(home) == {"up": 28.0}
    assert start()[0] == f"Starting, which took 28 s the last time; logs are in {home / 'logs'}"


def test_a_start_that_failed_says_nothing_of_how_long_one_takes(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    with pytest.raises(KeyError), starting(home, quiet=True) as answered:
        answered("mlflow")
        raise KeyError
    assert durations.last_seconds(home) == {} and "✓" not in capsys.readouterr().err
