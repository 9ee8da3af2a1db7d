"""A source read a row group at a time gives the dataset that it would give whole."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.data.splits import SPLITS
from tasks.data.streaming import stream_fingerprint
from tasks.errors import UserError
from tasks.preflight.bench import Bench
from tasks.preflight.rows import look_at_rows, look_at_splits
from tasks.workloads.sources import Stream
from tasks.workloads.workload import Workload

FILE = """
import pandera.pandas as pa
from tasks.workloads import Rows, Workload
from tasks.workloads.sources import parquet

workload = Workload(
    name="{name}",
    kind="classification",
    load=parquet({url!r}, stream={stream}),
    schema=pa.DataFrameSchema({{"x": pa.Column(float, pa.Check.in_range(-9, 9)), "label": pa.Column(str)}}),
    target="label",
    inputs=lambda rows: {{"x": rows[["x"]].to_numpy("float32"), "code": rows[["code"]].to_numpy("int64")}},
    model=lambda: None,
    time={time!r},
    rows={rows},
)
"""


def rows_of(count: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    hours = random.integers(0, count // 4, count)
    return pd.DataFrame(
        {
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(hours, unit="h"),
            "x": random.normal(size=count),
            "code": random.integers(0, 9, count),
            "label": random.choice(["cat", "dog"], size=count),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of several row groups each."""
    here = tmp_path / "rows"
    here.mkdir()
    for number in range(2):
        rows_of(500, number).to_parquet(here / f"part-{number}.parquet", row_group_size=120, index=False)
    return here


def reference(tmp_path: Path, url: Path, stream: bool, time: str | None, rows: str = "Rows()") -> str:
    path = tmp_path / f"streamed_{stream}_{time}.py"
    path.write_text(FILE.format(name="streamed", url=str(url), stream=stream, time=time, rows=rows))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("time", "until", "rows"),
    [
        (None, None, "Rows()"),
        ("when", None, "Rows()"),
        ("when", "2026-01-04", "Rows()"),
        (None, None, "Rows(group='code', weight='code')"),
        ("when", None, "Rows(group='when', gap='12h', weight='code')"),
    ],
)
def test_streamed_rows_land_in_the_splits_of_rows_loaded_whole(
    folder: Path, tmp_path: Path, time: str | None, until: str | None, rows: str
) -> None:
    config = Data.model_validate({"until": until})
    whole = prepare(reference(tmp_path, folder, False, time, rows), config, tmp_path / "whole")
    streamed = prepare(reference(tmp_path, folder, True, time, rows), config, tmp_path / "streamed")
    assert streamed.rows == whole.rows and streamed.classes == whole.classes
    assert streamed.inputs == whole.inputs and streamed.newest == whole.newest
    for name in SPLITS:
        ours, theirs = read_split(streamed, name), read_split(whole, name)
        assert (ours.inputs["x"] == theirs.inputs["x"]).all() and (ours.target == theirs.target).all()
        assert (ours.weight is None) == ("weight" not in rows) and (ours.group is None) == (
            "group" not in rows
        )
        np.testing.assert_array_equal(ours.weight, theirs.weight)
        np.testing.assert_array_equal(ours.group, theirs.group)
        pd.testing.assert_frame_equal(read_frame(streamed, name), read_frame(whole, name))


def test_only_one_row_group_is_asked_for_at_a_time(folder: Path) -> None:
    assert [len(frame) for frame in Stream(str(folder)).frames()] == [120, 120, 120, 120, 20] * 2


def test_new_files_alone_are_read_for_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    stream, memory = Stream(str(folder)), tmp_path / "datasets"
    before = stream_fingerprint(stream, memory)
    kept = json.loads((memory / "row-groups.json").read_text())
    assert stream_fingerprint(stream, tmp_path / "elsewhere") == before
    marked = {key: ["remembered"] * len(digests) for key, digests in kept.items()}
    (memory / "row-groups.json").write_text(json.dumps(marked))
    rows_of(50, 9).to_parquet(folder / "part-2.parquet", index=False)
    after = stream_fingerprint(stream, memory)
    now = json.loads((memory / "row-groups.json").read_text())
    assert after != before and len(now) == 3
    assert sum(digests == ["remembered"] * len(digests) for digests in now.values()) == 2


def test_a_changed_cell_changes_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    before = stream_fingerprint(Stream(str(folder)), tmp_path / "one")
    rows_of(500, 1).assign(x=0.0).to_parquet(folder / "part-1.parquet", row_group_size=120, index=False)
    assert stream_fingerprint(Stream(str(folder)), tmp_path / "one") != before


def test_a_row_group_that_breaks_the_schema_is_refused_and_nothing_stays(
    folder: Path, tmp_path: Path
) -> None:
    rows_of(50).assign(x=99.0).to_parquet(folder / "part-2.parquet", index=False)
    with pytest.raises(UserError, match="x: .* fails in 50 rows"):
        prepare(reference(tmp_path, folder, True, None), Data(), tmp_path / "data")
    assert list((tmp_path / "data" / "streamed").iterdir()) == []


def test_the_schema_names_columns_that_are_gone(folder: Path, tmp_path: Path) -> None:
    schema = pa.DataFrameSchema({"gone": pa.Column(float)})
    from tasks.data.schema import validated
    from tasks.workloads.catalogue import load_workload

    workload = replace(load_workload(reference(tmp_path, folder, True, None)), schema=schema)
    with pytest.raises(UserError, match="gone"):
        validated(workload, rows_of(8))


def test_check_looks_at_a_stream_by_its_first_row_group(folder: Path, tmp_path: Path) -> None:
    """All of it may not fit in memory; and its fingerprint is of other bytes than a frame's, which is no news."""
    bench = Bench(
        reference(tmp_path, folder, True, "when"), Workload.defaults, tmp_path / "home", tmp_path / "scratch"
    )
    assert look_at_rows(bench).startswith("the first 120 rows of 4 columns hold the schema")
    assert re.fullmatch(r"\d+ train, \d+ validation, \d+ test", look_at_splits(bench))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda f: f.assign(label="cat"), "classification", "always 'cat'; a classifier needs two classes"),
        (lambda f: f.assign(label=f["label"].where(f.index > 4)), "classification", "target 'label' is empty in 5 of .*in the source"),
        (lambda f: f.assign(when=f["when"].where(f.index > 4)), "classification", "the time 'when' is empty in 5 of .*in the source"),
        (lambda f: f, "regression", "target 'label' is str; a regression needs numbers"),
    ],
)  # fmt: skip
def test_a_streamed_target_that_cannot_be_learned_is_a_sentence(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], kind: str, message: str
) -> None:
    change(rows_of(100)).to_parquet(tmp_path / "rows.parquet", index=False)
    source = Path(reference(tmp_path, tmp_path / "rows.parquet", True, "when"))
    source.write_text(source.read_text().replace('"classification"', repr(kind)))
    with pytest.raises(UserError, match=message):
        prepare(str(source), Data(), tmp_path / "data")


def test_classes_without_an_order_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for number, label in enumerate((0, "dog")):
        rows_of(40).assign(label=label).to_parquet(tmp_path / f"{number}.parquet", index=False)
    with pytest.raises(UserError, match="of the types .*, which have no common order"):
        prepare(reference(tmp_path, tmp_path, True, None), Data(), tmp_path / "data")


LEVELS = pd.CategoricalDtype(["low", "none", "high", "a"], ordered=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Series.values returning")  # pyarrow, of its own reading of zoned times
@pytest.mark.parametrize(
    "held",
    [
        lambda when: when.dt.tz_localize("Europe/Berlin"),
        lambda when: when.dt.date,
        lambda when: when.dt.strftime("%Y-%m-%dT%H:%M"),
        lambda when: (when - pd.Timestamp("2026-01-01")) // pd.Timedelta("1h"),
        lambda when: (when - pd.Timestamp("2026-01-01")) / pd.Timedelta("1D"),
    ],
    ids=["zoned", "dates", "text", "hours", "days"],
)
def test_times_and_an_ordered_target_are_the_same_in_parts_and_whole(
    tmp_path: Path, held: Callable[["pd.Series[Any]"], "pd.Series[Any]"]
) -> None:
    rows, path = rows_of(500), tmp_path / "rows.parquet"
    label = rows["label"].map({"cat": "low", "dog": "high"}).where(rows["x"] < 1, "a")
    held_rows = rows.assign(when=held(rows["when"]), label=label.astype(LEVELS))
    held_rows.to_parquet(path, row_group_size=60, index=False)
    made = []
    for stream in (False, True):
        file = Path(reference(tmp_path, path, stream, "when"))
        file.write_text(file.read_text().replace(', "label": pa.Column(str)', ""))
        made.append(prepare(str(file), Data(), tmp_path / f"data-{stream}"))
    whole, streamed = made
    assert streamed.classes == whole.classes == ("low", "none", "high", "a")
    assert streamed.rows == whole.rows and streamed.newest == whole.newest
    for name in SPLITS:
        ours, theirs = read_split(streamed, name), read_split(whole, name)
        assert (ours.inputs["x"] == theirs.inputs["x"]).all() and (ours.target == theirs.target).all()


def test_parts_that_order_their_classes_otherwise_are_refused(tmp_path: Path) -> None:
    for number, order in enumerate((["cat", "dog"], ["dog", "cat"])):
        dtype = pd.CategoricalDtype(order, ordered=True)
        rows_of(40).astype({"label": dtype}).to_parquet(tmp_path / f"{number}.parquet", index=False)
    with pytest.raises(
        UserError, match="the ordered target 'label' has the order .* in one part of the rows"
    ):
        prepare(reference(tmp_path, tmp_path, True, None), Data(), tmp_path / "data")


def test_an_instant_that_most_streamed_rows_share_is_named(tmp_path: Path) -> None:
    rows_of(100).assign(when=pd.Timestamp("2026-01-01")).to_parquet(tmp_path / "rows.parquet", index=False)
    with pytest.raises(UserError, match="100 of them are of one 'when' .2026-01-01 00:00:00."):
        prepare(reference(tmp_path, tmp_path, True, "when"), Data(), tmp_path / "data")
