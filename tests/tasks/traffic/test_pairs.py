"""Pairs and what labels say of them: a cut in time, labels that do not come, ids that come again."""

import datetime
import json
from pathlib import Path

import pytest
import recorded

from tasks.records import Version
from tasks.rollout.counts import LabelCounts
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import RolloutRecord
from tasks.settings import Settings
from tasks.system.storage import ObjectStorage
from tasks.traffic.label_queue import wanted, write_wanted
from tasks.traffic.labels import Label, labels_of, write_labels
from tasks.traffic.pairs import labelled

pytestmark = pytest.mark.slow

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)

POLICY = RolloutPolicy.model_validate({"horizon": "24h"})


def ago(hours: float) -> float:
    return (NOW - datetime.timedelta(hours=hours)).timestamp()


def keep(settings: Settings, *labels: Label) -> None:
    write_labels(labels_of(settings.home, "digits"), labels)


def label(id: str, word: str, hours: float) -> Label:
    return Label(id, 0, word, ago(hours), ago(hours))


@pytest.fixture
def record(old: Version, new: Version) -> RolloutRecord:
    return RolloutRecord(
        model="digits", run="run", old=old.version, new=new.version, old_sha256=old.sha256, new_sha256=new.sha256,
        salt="s", step=0, weight=0.0, sequence=1,
    )  # fmt: skip


@pytest.fixture
def paired(settings: Settings, old: Version, new: Version) -> Settings:
    """A hundred pairs long ago, of which five differ; ten more since the horizon; and another rollout's."""
    says = {"better": (1, 2), "worse": (1, 2), "neither": (1, 2), "lost": (1, 2)}
    lines = [recorded.pair(new, old, two, ago(30), id) for id, two in says.items()]
    lines.append(recorded.pair(new, old, (3, 4), ago(29.5), "better"))  # a client's own id, again
    recorded.write(settings.home, [*lines, recorded.counted(old, 100, 95, ago(29))], recorded.PAIRS)
    young = [recorded.pair(new, old, (1, 2), ago(24.5), "young"), recorded.counted(old, 10, 9, ago(23.9))]
    recorded.write(settings.home, young, recorded.PAIRS)
    other = [
        recorded.pair(new, old, (1, 2), ago(50), "other", run="before"),
        recorded.counted(old, 7, 6, ago(49), run="before"),
    ]
    recorded.write(settings.home, other, recorded.PAIRS)
    return settings


def test_labels_say_which_version_was_right_and_what_has_none_is_missing(
    paired: Settings, record: RolloutRecord
) -> None:
    assert labelled(paired, "digits", record, POLICY, NOW).counts == LabelCounts(
        matured=100, agreed=95, missing=5
    )
    keep(
        paired,
        label("better", "1", 20),
        label("worse", "2", 20),
        label("neither", "7", 20),
        label("young", "1", 20),
    )
    counts = LabelCounts(matured=100, agreed=95, better=1, worse=1, neither=1, missing=2)
    assert labelled(paired, "digits", record, POLICY, NOW).counts == counts
    assert labelled(paired, "digits", record, POLICY, NOW) == labelled(paired, "digits", record, POLICY, NOW)


def test_a_label_after_the_horizon_changes_no_decision_and_a_pair_ripens_with_its_file(
    paired: Settings, record: RolloutRecord
) -> None:
    keep(paired, label("worse", "2", 5.9), label("better", "1", 6.1), label("better", "2", 5.9))
    before = labelled(paired, "digits", record, POLICY, NOW)
    assert before.counts == LabelCounts(matured=100, agreed=95, better=1, missing=4)
    later = NOW + datetime.timedelta(minutes=10)
    assert labelled(paired, "digits", record, POLICY, later).counts == LabelCounts(
        matured=110, agreed=104, better=1, missing=5
    )


def test_a_word_that_is_no_class_of_either_version_is_no_label(
    paired: Settings, record: RolloutRecord
) -> None:
    keep(paired, label("worse", "eleven", 20))
    assert labelled(paired, "digits", record, POLICY, NOW).counts.missing == 5


def test_differing_rows_that_were_lost_on_the_way_are_missing(
    settings: Settings, old: Version, record: RolloutRecord
) -> None:
    recorded.write(settings.home, [recorded.counted(old, 10, 7, ago(30))], recorded.PAIRS)
    assert labelled(settings, "digits", record, POLICY, NOW).counts == LabelCounts(
        matured=10, agreed=7, missing=3
    )


def test_nothing_recorded_is_nothing_said(settings: Settings, record: RolloutRecord) -> None:
    assert labelled(settings, "digits", record, POLICY, NOW).counts == LabelCounts()


def test_what_another_machine_recorded_comes_from_the_store(
    paired: Settings, record: RolloutRecord, tmp_path: Path
) -> None:
    keep(paired, label("better", "1", 20))
    expected = labelled(paired, "digits", record, POLICY, NOW).counts
    store = ObjectStorage(f"file://{tmp_path}/store", paired.home)
    for path in [*paired.home.glob("traffic/**/*.gz"), *paired.home.glob("labels/**/*.gz")]:
        store.write(path, path.read_bytes())
        path.unlink()
    shared = paired.model_copy(update={"store": store.url})
    assert labelled(paired, "digits", record, POLICY, NOW).counts == LabelCounts()
    assert labelled(shared, "digits", record, POLICY, NOW).counts == expected and expected.better == 1


def test_wanted_are_rows_that_differ_and_have_no_label_the_oldest_first(
    paired: Settings, old: Version, new: Version, tmp_path: Path
) -> None:
    keep(paired, label("young", "1", 1))
    differ = [
        recorded.pair(new, old, (5, 6), ago(2), "second"),
        recorded.pair(old, new, (8, 9), ago(3), "first"),
    ]
    recorded.write(paired.home, differ, recorded.PAIRS)
    asked = wanted(paired, "digits", NOW)
    assert [(row.id, row.old, row.new) for row in asked.rows] == [("first", "9", "8"), ("second", "6", "5")]
    assert (asked.labelled, asked.late) == (1, 5) and len(asked.rows[0].asked["image"]) == 64
    write_wanted(tmp_path / "wanted.csv", asked.rows)
    header, line, _ = (tmp_path / "wanted.csv").read_text().splitlines()
    assert header.startswith("id,row,label,time,") and line.startswith("first,0,,2026-11-27T09:00:00Z,")
    write_wanted(tmp_path / "wanted.jsonl", asked.rows)
    assert json.loads((tmp_path / "wanted.jsonl").read_text().splitlines()[1])["label"] is None
