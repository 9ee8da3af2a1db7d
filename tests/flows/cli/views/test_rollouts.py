"""A rollout as people read it."""

import datetime

import pytest

from flows.cli.views.rollouts import show_standing
from flows.cli.views.versions import show_entry
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.rollout_status import Standing
from tasks.reporting.rollout_progress import Point, intervals, picture
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.decision import Place, Pod, decide
from tasks.rollout.policy import RolloutPolicy

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)

POLICY = RolloutPolicy.model_validate({"hold": {"minutes": 0}})

COUNTS = Counts(pairs=4000, timed=4000, slow=800, agreed=3900)

LABELS = LabelCounts(matured=1000, agreed=970, better=10, worse=10, missing=10)


def entry(action: str) -> LedgerEntry:
    return LedgerEntry(
        sequence=2, evidence=None, previous="", model="digits", action=action, from_version=1, to_version=2, who="[ada]",
        why="nightly [T-12]", verdict="pass", at=NOW,
    )  # type: ignore[arg-type]  # fmt: skip


def test_each_guard_says_how_sure_it_is_and_what_is_still_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    pods = {"host-1-1": Pod(age=datetime.timedelta(seconds=5), sequence=2)}
    place = Place(step=2, sequence=2, began=NOW, stepped=NOW, last=NOW, pods=pods)
    standing = Standing(
        model="digits", status="rolling", run="r", old=1, new=2, step=2, policy=POLICY, since=NOW, counts=COUNTS,
        labels=LABELS, pods=pods, decision=decide(POLICY, place, COUNTS, LABELS, NOW), entries=(entry("start"),),
    )  # fmt: skip
    show_standing(standing, as_json=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "version 2 beside version 1, rolling at 10% of the keys" in out
    assert "yes, e = 175 of 20" in out and "stay: These labels cannot prove the score" in out
    show_standing(standing, as_json=True)
    assert Standing.model_validate_json(capsys.readouterr().out).decision == standing.decision


def test_what_was_begun_is_not_said_to_serve(capsys: pytest.CaptureFixture[str]) -> None:
    show_entry(entry("start"), as_json=False)
    out = capsys.readouterr().out
    assert "version 1 serves as before, and version 2 begins to answer beside it" in out
    assert "start by [ada]: nightly [T-12]" in out and "slipway rollout digits" in out


@pytest.mark.slow
def test_the_picture_has_a_panel_a_guard_that_was_seen_and_none_without() -> None:
    points = intervals(POLICY, COUNTS, LABELS)
    assert set(points) == {"errors", "slower", "tail", "score"} and all(
        p.low <= p.mean <= p.high for p in points.values()
    )
    history = {guard: [point, Point(100, -0.1, 0.0, 0.2)] for guard, point in points.items()}
    svg = picture(POLICY, history, [(0, 0.0), (2800, 0.01)])
    assert all(text in svg for text in ("score, new less old", "only the new one fails", "shadow", "1%"))
    assert svg == picture(POLICY, history, [(0, 0.0), (2800, 0.01)]) and "<svg" in picture(POLICY, {}, [])
