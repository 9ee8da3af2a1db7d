"""Labels that come late, twice, corrected, contradicting: what is said of the score, and how sure it is."""

import datetime
from pathlib import Path

import pytest
import recorded

from tasks.errors import UserError
from tasks.records import Version
from tasks.settings import Settings
from tasks.traffic.label_file import add_labels
from tasks.traffic.score import score

pytestmark = pytest.mark.slow

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)


def ago(**time: float) -> float:
    return (NOW - datetime.timedelta(**time)).timestamp()


def labels(folder: Path, *lines: str) -> Path:
    """A file of labels; columns id, row, label, at."""
    path = folder / "labels.csv"
    path.write_text("\n".join(["id,row,label,at", *lines]) + "\n")
    return path


@pytest.fixture
def asked(settings: Settings, old: Version, new: Version) -> Settings:
    """Two days of requests, the second day's by the next version: five rows of seven, in four requests."""
    lines = [
        recorded.request(old, [3, 4], ago(hours=30), "a"),
        recorded.request(old, [5], ago(hours=29), "b"),
        recorded.request(new, [6], ago(hours=2), "c"),
        recorded.request(new, [7], ago(hours=1), "d"),
        recorded.request(new, [8], ago(minutes=50), "a"),  # a client's own id, again
        recorded.request(old, [9], ago(minutes=10)),
    ]
    recorded.write(settings.home, lines)
    return settings


def test_the_same_file_twice_is_the_file_once_to_the_byte(asked: Settings, tmp_path: Path) -> None:
    file = labels(tmp_path, "a,0,3,", "a,1,5,", "b,,5,", "c,0,6,", "nobody,0,1,")
    added = add_labels(asked, "digits", file)
    assert (added.labels, added.unknown, added.empty) == (5, 1, 0)
    before = score(asked, "digits", "version", NOW).model_dump_json()
    add_labels(asked, "digits", file)
    after = score(asked, "digits", "version", NOW)
    assert after.model_dump_json() == before
    assert (after.overall.rows, after.overall.labelled, after.overall.score) == (7, 4, 0.75)
    assert (after.unknown, after.repeated, after.conflicts, after.strange) == (1, 1, 0, 0)
    first, second = after.groups
    assert (first.group, first.rows, first.labelled, first.score) == ("1", 4, 3, pytest.approx(2 / 3))
    assert (second.group, second.rows, second.labelled, second.score) == ("2", 3, 1, 1.0)
    assert first.low is not None and first.high is not None and 0 <= first.low < 2 / 3 < first.high <= 1


def test_a_newer_word_corrects_its_row_alone_and_an_older_one_nothing(
    asked: Settings, tmp_path: Path
) -> None:
    add_labels(asked, "digits", labels(tmp_path, "a,0,3,2026-11-26T12:00Z", "a,1,4,2026-11-26T12:00Z"))
    assert score(asked, "digits", None, NOW).overall.score == 1.0
    add_labels(asked, "digits", labels(tmp_path, "a,1,9,2026-11-26T11:59Z"))
    assert score(asked, "digits", None, NOW).overall.score == 1.0
    add_labels(asked, "digits", labels(tmp_path, "a,1,9,2026-11-26T13:00"))
    by_slice = {group.group: group for group in score(asked, "digits", "slice", NOW).groups}
    assert by_slice["label=3"].score == 1.0 and by_slice["label=9"].score == 0.0
    assert by_slice["label=no label"].score is None and by_slice["label=no label"].coverage == 0.0


def test_two_words_of_one_moment_make_a_row_unusable_until_a_newer_comes(
    asked: Settings, tmp_path: Path
) -> None:
    at = "2026-11-26T12:00Z"
    add_labels(asked, "digits", labels(tmp_path, f"c,0,6,{at}", f"c,0,5,{at}", f"d,0,7,{at}"))
    outcome = score(asked, "digits", "day", NOW)
    assert outcome.conflicts == 1 and outcome.overall.labelled == 1
    assert [group.group for group in outcome.groups] == ["2026-11-26", "2026-11-27"]
    assert outcome.groups[0].score is None and outcome.groups[0].rows == 3
    add_labels(asked, "digits", labels(tmp_path, "c,0,6,2026-11-26T12:01Z"))
    assert score(asked, "digits", None, NOW).conflicts == 0


def test_the_first_request_of_an_id_has_its_labels(asked: Settings, tmp_path: Path) -> None:
    add_labels(asked, "digits", labels(tmp_path, "a,0,8,"))
    outcome = score(asked, "digits", "version", NOW)
    assert [group.labelled for group in outcome.groups] == [1, 0] and outcome.overall.score == 0.0


def test_rows_of_a_clock_far_ahead_are_held_back_and_named(asked: Settings, old: Version) -> None:
    recorded.write(asked.home, [recorded.request(old, [1], ago(minutes=-6), "early")])
    outcome = score(asked, "digits", None, NOW)
    assert outcome.ahead == ("early of 2026-11-27 12:06",) and outcome.overall.rows == 7


def test_rows_that_differ_are_no_sample_of_what_is_asked(
    asked: Settings, old: Version, new: Version, tmp_path: Path
) -> None:
    recorded.write(asked.home, [recorded.pair(new, old, (1, 2), ago(hours=3), "p")], recorded.PAIRS)
    assert add_labels(asked, "digits", labels(tmp_path, "p,0,1,")).unknown == 0
    outcome = score(asked, "digits", None, NOW)
    assert (outcome.overall.rows, outcome.overall.labelled, outcome.unknown) == (7, 0, 0)


def test_other_bytes_under_a_version_s_number_are_left_out(asked: Settings, old: Version) -> None:
    other = old.model_copy(update={"sha256": "0" * 64})
    recorded.write(asked.home, [recorded.request(other, [1, 2], ago(hours=1), "o")])
    outcome = score(asked, "digits", None, NOW)
    assert (outcome.overall.rows, outcome.left_out) == (7, 2)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("l.csv", "id,row\na,0\n", "has no column 'label'; it has id, row: labels are columns id and label"),
        ("l.csv", "", "has no column 'id'; it has none"),
        ("l.csv", "id,row,label\na,0,3\na,x,3\n", "l.csv, line 3: row is 'x': give the row's place in its request"),
        ("l.csv", "id,label\na,eleven\n", "l.csv, line 2: 'eleven' is no class of digits: it knows 0, 1, 2,"),
        ("l.csv", "id,label,at\na,3,yesterday\n", "at is 'yesterday': give a time such as 2026"),
        ("l.jsonl", '{"id": 7, "label": 3}\n', "l.jsonl, line 1: id is 7: give the request's id"),
        ("l.jsonl", '{"id": "a"}\n', "l.jsonl, line 1, has no column 'label'"),
        ("l.jsonl", "[1]\n", "has no column 'id'; it has none"),
        ("l.jsonl", "{\n", "cannot be read"),
        ("l.txt", "a 3", "is no file of labels: give one that ends in .csv, .parquet or .jsonl"),
        ("l.parquet", "a 3", "cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_a_sentence_and_nothing_is_taken(
    settings: Settings, tmp_path: Path, name: str, content: str, reason: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        add_labels(settings, "digits", tmp_path / name)
    assert reason in str(error.value) and not (settings.home / "labels").exists()


def test_labels_come_as_parquet_too_and_numbers_are_words(asked: Settings, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    at = [datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC), None]
    table = pa.table(
        {
            "id": ["a", "b"],
            "label": [3.0, None],
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "by": ["x", "y"],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "labels.parquet")
    added = add_labels(asked, "digits", tmp_path / "labels.parquet")
    assert (added.labels, added.empty) == (1, 1) and score(asked, "digits", None, NOW).overall.score == 1.0


def test_without_traffic_or_a_model_it_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No traffic of digits is on record: .*--record"):
        score(settings, "digits", None, NOW)
    with pytest.raises(UserError, match="There is no model 'fish'"):
        add_labels(settings, "fish", labels(tmp_path, "a,0,3,"))
