"""Ledgers and decisions as people read them in a terminal."""

from datetime import UTC, datetime

import pytest

from flows.cli.views.outcome import show_outcome
from flows.cli.views.versions import ledger_lines, show_entry, show_history
from tasks.outcome import CandidateResult, Outcome
from tasks.promotion.history import History
from tasks.promotion.ledger import LedgerEntry


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["  promote  –     1   ada  pass     because " + "it holds " * 12 + "well"]),
        (130, ["  promote  –     1   ada  pass     because it holds", " " * 52]),
        (80, ["  promote  –     1   ada  pass", "    because it holds"]),
    ],
)
def test_a_ledger_reads_well_in_a_pipe_on_a_wide_terminal_and_on_80_columns(
    width: int | None, lines: list[str]
) -> None:
    entry = LedgerEntry(
        sequence=1, evidence=None, previous="", model="digits", action="promote", from_version=None, to_version=1, who="ada",
        why="because " + "it holds " * 12 + "well", verdict="pass", at=datetime(2026, 5, 3, tzinfo=UTC),
    )  # fmt: skip
    header, *shown = ledger_lines((entry,), width)
    assert header.startswith("[dim]when (UTC)") and ("why" in header) == (width != 80)
    assert shown[0].startswith(f"2026-05-03 00:00:00{lines[0]}")
    assert all(line.startswith(wanted) for line, wanted in zip(shown[1:], lines[1:], strict=False))
    assert width is None or max(map(len, shown)) <= width


def test_what_people_and_models_are_called_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are rich's markup: a reason with some would be cut, or end a decision in a traceback."""
    why = "see [T-12], [/etc] and [red]"
    entry = LedgerEntry(
        sequence=1, evidence=None, previous="", model="digits", action="promote", from_version=None, to_version=1,
        who="[ada]", why=why, verdict="pass", at=datetime(2026, 5, 3, tzinfo=UTC),
    )  # fmt: skip
    show_entry(entry, as_json=False)
    lost = CandidateResult(
        name="int8", status="refused", score=None, score_drop=None, size_bytes=None, latency_ratio=None, throughput_ratio=None,
        reasons=(why,),
    )  # fmt: skip
    outcome = Outcome(
        workload="my [x].py", model="mine", run_id="1", version=1, decision="refused", reasons=(why,), candidates=(lost,),
        report="/home/[a]/report.html",
    )  # fmt: skip
    show_outcome(outcome, as_json=False)
    out = capsys.readouterr().out
    assert out.count(why) == 3 and "promote by [ada]: see" in out and "/home/[a]/report.html" in out
    assert "slipway settings 'my [x].py' " in out


def test_a_history_ends_with_what_should_be_known_and_what_is_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = History(
        model="digits", champion=1, challenger=None, previous=None, proved=True, entries=(),
        problems=("entry 3 is not signed",), notes=("entry 2 was written by a clock that disagrees",),
    )  # fmt: skip
    show_history(shown, as_json=False)
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last == ["· entry 2 was written by a clock that disagrees", "! entry 3 is not signed"]
