"""Labels on disk, and what holds of a row whatever the order in which they came."""

import gzip
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traffic.labels import Label, label_of, match, read_labels, standing, write_labels

LABELS = st.lists(
    st.builds(
        Label,
        id=st.sampled_from(["a", "b", "c"]),
        row=st.integers(0, 1),
        label=st.sampled_from(["x", "y"]),
        at=st.integers(0, 3).map(float),
        received=st.integers(0, 6).map(float),
    ),
    max_size=12,
)


@given(LABELS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_what_holds(labels: list[Label], random: object) -> None:
    shuffled = [*labels, *labels[::2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert standing(shuffled) == standing(labels)


@given(LABELS, LABELS)
def test_files_may_be_joined_in_any_order_by_their_horizon(first: list[Label], second: list[Label]) -> None:
    import datetime

    times, horizon = {("a", 0): 0.0, ("b", 1): 3.0}, datetime.timedelta(seconds=2)
    matched = match([*first, *second], times, horizon)
    assert matched == match([*second, *first], times, horizon)
    for key, word in matched.words.items():
        on_time = [label for label in first + second if label.key == key and label.received <= times[key] + 2]
        newest = max(label.at for label in on_time)
        assert {label.label for label in on_time if label.at == newest} == {word}


@given(LABELS)
def test_an_older_word_changes_nothing_and_a_newer_one_its_row_alone(labels: list[Label]) -> None:
    before = standing(labels)
    for label in labels:
        older, newer = label._replace(at=-1.0, label="z"), label._replace(at=9.0, label="z")
        assert standing([older, *labels]) == before
        assert standing([newer, *labels]) == {**before, label.key: "z"}


def test_labels_are_read_as_they_were_written_and_a_torn_file_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    labels = [Label("a", 0, "ü\n,", 1.5, 2.5), Label("b", 3, "7", 0.0, 2.5)]
    write_labels(tmp_path, labels)
    torn = write_labels(tmp_path, labels)
    torn.write_bytes(gzip.compress(b'{"id": "a"'))
    assert [*read_labels(tmp_path)] == labels and torn.name in caplog.text


@pytest.mark.parametrize(
    ("given", "at"),
    [("2026-11-27T14:00:00Z", 1795788000), ("2026-11-27 15:00+01:00", 1795788000), ("2026-11-27T14:00", 1795788000), ("1795788000", 1795788000), (1795788000.5, 1795788000.5), (None, 7), ("", 7)],
)  # fmt: skip
def test_a_moment_is_a_time_or_seconds_or_now(given: object, at: float) -> None:
    assert label_of({"id": "a", "label": "x", "at": given}, 7.0) == Label("a", 0, "x", at, 7.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"label": 3}, "id is None"), ({"id": "a" * 129, "label": 3}, "1 to 128"), ({"id": "a\nb", "label": 3}, "printable"),
     ({"id": "a"}, "label is None"), ({"id": "a", "label": [1]}, "label is"), ({"id": "a", "label": float("nan")}, "label is nan"),
     ({"id": "a", "label": 1, "row": -1}, "row is -1"), ({"id": "a", "label": 1, "row": True}, "row is True"),
     ({"id": "a", "label": 1, "at": "soon"}, "at is 'soon'"), ({"id": "a", "label": 1, "at": True}, "at is True"),
     ({"id": "a", "label": 1, "at": 1e400}, "at is inf")],
)  # fmt: skip
def test_what_is_no_label_is_said(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        label_of(given, 7.0)
