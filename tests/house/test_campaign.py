"""The campaign's frame: what was tried is kept, what was cut off is tried again, and a sample is a sample of the whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import campaign
import pytest
from campaign import Broken, Case, Exhausted, Part, Tried, Try, Wrong


def run(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *words: str,
    wrong: int = -1,
    total: int = 10,
    broken: int = -1,
) -> list[int]:
    """The numbers of the cases that were tried; the part thinks that it has ten."""
    tried = []

    @contextmanager
    def opened(scratch: Path) -> Iterator[Try]:
        def attempt(case: Case) -> Tried:
            tried.append(case.among(total))
            if case.number == wrong:
                raise Wrong("two champions")
            if case.number == broken:
                raise Broken("its server was killed")
            return Tried("right", tries=100, figures={"MB": float(case.number)})

        yield attempt

    monkeypatch.setattr(sys, "argv", ["bench_campaign.py", "--folder", str(folder), "--jobs", "1", *words])
    code = campaign.main([Part("toys", "toys broken", 10, opened, tries=100)])
    assert code == (wrong >= 0)
    return tried


def test_a_campaign_that_was_ended_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(monkeypatch, tmp_path, "--scale", "0.4")
    with (tmp_path / "toys.jsonl").open("ab") as file:
        file.write(b'{"case": 4, "seed": 20')
    rest = run(monkeypatch, tmp_path)
    assert len(first) == 4 and sorted([*first, *rest]) == list(range(10))
    assert run(monkeypatch, tmp_path) == []
    assert "| 1,000 of 1,000 | 0 | 1,000 right; MB 4.5 (0 to 9) |" in capsys.readouterr().out


def test_what_ended_wrong_is_kept_said_and_tried_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, tmp_path, wrong=3)
    assert "toys 3: two champions" in capsys.readouterr().err
    assert len(run(monkeypatch, tmp_path, "--again")) == 1
    assert run(monkeypatch, tmp_path) == []


def test_what_breaks_the_campaign_itself_is_no_finding_and_ends_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Broken):
        run(monkeypatch, tmp_path, broken=3)
    assert len(run(monkeypatch, tmp_path)) == 7


def test_a_part_has_no_more_cases_than_there_are_things_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(run(monkeypatch, tmp_path, total=7)) == list(range(7))


@pytest.mark.parametrize("total", [1, 2, 3, 10, 997, 1000])
def test_numbers_are_spread_each_over_all_of_it_once(total: int) -> None:
    among = [Case(number, 7, "toys").among(total) for number in range(total)]
    assert sorted(among) == list(range(total))
    if total > 100:
        first = sorted(among[:10])
        assert max(after - before for before, after in zip(first, first[1:], strict=False)) < total / 4
    with pytest.raises(Exhausted):
        Case(total, 7, "toys").among(total)


_SHARED = """
import os, sys
from contextlib import contextmanager
from pathlib import Path
import campaign
from campaign import Part, Tried

@contextmanager
def opened(scratch):
    with open({pids!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    yield lambda case: Tried("right")

sys.exit(campaign.main([Part("toys", "toys broken", 10, opened)]))
"""


def test_two_processes_share_a_part_and_begin_no_third(tmp_path: Path) -> None:
    pids, script = tmp_path / "pids", tmp_path / "bench_toys.py"
    script.write_text(_SHARED.format(pids=str(pids)))
    words = [sys.executable, script, "--folder", tmp_path, "--jobs", "2", "--minutes", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(campaign.__file__).parent)}
    with subprocess.Popen([*map(str, words)], env=environment, start_new_session=True) as process:
        try:
            assert process.wait(60) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert len(pids.read_text().split()) == 2
    assert (tmp_path / "toys.jsonl").read_text().count("right") == 10
