"""What is remembered of a rollout's files: the same as counting from nothing, whatever came, went or was said anew meanwhile."""

import datetime
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import recorded
from hypothesis import given
from hypothesis import strategies as st

from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import RolloutRecord
from tasks.traffic import pairs
from tasks.traffic.labels import Label, labels_of, write_labels
from tasks.traffic.pairs import Labelled, Pair, labelled

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)

POLICY = RolloutPolicy.model_validate({"horizon": "24h"})

OLD: Any = SimpleNamespace(version=1, sha256="1" * 64)
NEW: Any = SimpleNamespace(version=2, sha256="2" * 64)

RECORD = RolloutRecord(
    model="digits", run="run", old=1, new=2, old_sha256=OLD.sha256, new_sha256=NEW.sha256, salt="s", step=0, weight=0.0, sequence=1,
)  # fmt: skip


class Home:
    """A home whose versions say of a row the digit with the largest logit; how many files were read, and rows held to a label."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.settings: Any = SimpleNamespace(home=home, store=None)
        self.read, self.held = 0, 0
        real = pairs._read

        def read(*about: Any) -> Any:
            self.read += 1
            return real(*about)

        patch.setattr(pairs, "_read", read)
        patch.setattr(pairs, "_right", self.right)

    def right(self, settings: Any, record: Any, rows: Sequence[Pair], labels: Sequence[str]) -> Any:
        self.held += len(rows)
        said = [
            [outputs["logits"].index(5.0) for outputs in (row.new_outputs, row.old_outputs)] for row in rows
        ]
        return [
            (str(new) == label, str(old) == label) if label.isdigit() else None
            for (new, old), label in zip(said, labels, strict=True)
        ]

    def look(self, now: datetime.datetime, anew: bool = False) -> Labelled:
        return labelled(self.settings, "digits", RECORD, POLICY, now, anew=anew)

    @property
    def files(self) -> list[Path]:
        return sorted(self.settings.home.glob("traffic/**/*.gz"))


def ago(hours: float) -> float:
    return (NOW - datetime.timedelta(hours=hours)).timestamp()


IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
HOURS = st.sampled_from([20.0, 23.5, 24.5, 26.0, 30.0, 50.0])
ROWS = st.lists(
    st.tuples(IDS, HOURS, st.sampled_from([(1, 2), (3, 1)]), st.sampled_from(["run", "run", "other"])),
    max_size=5,
)
LABELS = st.lists(
    st.tuples(IDS, st.sampled_from(["1", "2", "3", "eleven"]), HOURS, HOURS), min_size=1, max_size=4
)
EVENTS = st.one_of(
    st.tuples(st.just("pairs"), ROWS),
    st.tuples(st.just("labels"), LABELS),
    st.tuples(st.just("gone"), st.integers(0, 9)),
    st.tuples(st.just("rot"), st.integers(0, 9)),
    st.tuples(st.just("later"), st.sampled_from([0.5, 2.0])),
    st.tuples(st.just("memory"), st.sampled_from([b"", b"{}", b'{"format":1,"versions":[],"files":0}'])),
)


@pytest.mark.slow
@given(events=st.lists(EVENTS, min_size=2, max_size=8))
def test_what_is_remembered_is_what_counting_from_nothing_says(events: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        home, now = Home(Path(scratch), patch), NOW
        for kind, what in events:
            if kind == "pairs":
                lines = [recorded.pair(NEW, OLD, says, ago(at), id, run) for id, at, says, run in what]
                counted = [
                    recorded.counted(OLD, len(what) + 3, 3, ago(min([at for _, at, _, _ in what] or [25])))
                ]
                recorded.write(home.settings.home, [*lines, *counted], recorded.PAIRS)
            elif kind == "labels":
                said = [Label(id, 0, word, ago(at), ago(received)) for id, word, at, received in what]
                write_labels(labels_of(home.settings.home, "digits"), said)
            elif kind in ("gone", "rot") and home.files:
                path = home.files[what % len(home.files)]
                path.unlink() if kind == "gone" else path.write_bytes(path.read_bytes()[:-9])
            elif kind == "later":
                now += datetime.timedelta(hours=what)
            elif kind == "memory":
                for path in home.settings.home.glob("counted/digits/*"):
                    path.write_bytes(what)
            assert home.look(now) == home.look(now, anew=True)


def test_a_file_is_read_once_and_a_row_is_held_to_its_label_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, monkeypatch)
    for number in range(3):
        lines = [recorded.pair(NEW, OLD, (1, 2), ago(30), f"{number}-{row}") for row in range(4)]
        recorded.write(tmp_path, [*lines, recorded.counted(OLD, 9, 5, ago(29))], recorded.PAIRS)
    labels = labels_of(tmp_path, "digits")
    write_labels(labels, [Label("0-0", 0, "1", ago(20), ago(20)), Label("1-3", 0, "2", ago(20), ago(20))])
    told = home.look(NOW)
    assert (told.counts.better, told.counts.worse, told.counts.missing) == (1, 1, 10)
    assert home.look(NOW) == told and (home.read, home.held) == (3, 2)
    write_labels(labels, [Label("0-0", 0, "2", ago(19), ago(19))])
    assert home.look(NOW).counts.worse == 2 and (home.read, home.held) == (4, 3), "of that file alone"
    recorded.write(tmp_path, [recorded.counted(OLD, 5, 5, ago(28))], recorded.PAIRS)
    assert home.look(NOW).counts.matured == 32 and home.read == 5
    (memory,) = (tmp_path / "counted" / "digits").iterdir()
    before = memory.stat().st_mtime_ns
    home.look(NOW)
    assert memory.stat().st_mtime_ns == before, "nothing is new"
