import datetime
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pytest
from checkout import SUPPORT
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import Data
from tasks.data.arrays import arrays_of, learn, look_at, sampling_arrays, to_inputs
from tasks.data.dataset import prepare, read_frame, read_split
from tasks.data.schema import load_valid
from tasks.data.splits import SPLITS, split
from tasks.errors import UserError
from tasks.workloads.catalogue import load_workload
from tasks.workloads.rows import Rows
from tasks.workloads.workload import Workload


def frame_of(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows), unit="h"),
            "x": random.normal(size=rows),
            "label": random.choice(["cat", "dog"], size=rows),
        }
    )


def workload_of(frame: pd.DataFrame, **changes: object) -> Workload:
    plain = Workload(
        name="toy",
        kind="classification",
        load=lambda: frame,
        schema=pa.DataFrameSchema({"x": pa.Column(float, pa.Check.in_range(-9, 9)), "label": pa.Column(str)}),
        target="label",
        inputs=lambda rows: {"x": rows[["x"]].to_numpy("float32")},
        model=lambda: None,  # type: ignore[arg-type, return-value]
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_digits_are_stored_as_arrays_and_parquet_that_agree(tmp_path: Path) -> None:
    dataset = prepare("digits", Data(), tmp_path)
    assert sum(dataset.rows.values()) == 1797 and set(dataset.rows) == set(SPLITS)
    for name in SPLITS:
        rows, frame = read_split(dataset, name), read_frame(dataset, name)
        assert isinstance(rows.inputs["image"], np.memmap)
        assert rows.inputs["image"].shape == (dataset.rows[name], 1, 8, 8)
        np.testing.assert_array_equal(rows.target, frame["label"])
        np.testing.assert_array_equal(rows.inputs["image"], load_workload("digits").inputs(frame)["image"])


@pytest.mark.slow
def test_the_same_rows_are_stored_once(tmp_path: Path) -> None:
    first = prepare("digits", Data(), tmp_path)
    marker = first.folder / "dataset.json"
    before = marker.stat().st_mtime_ns
    assert prepare("digits", Data(), tmp_path) == first
    assert marker.stat().st_mtime_ns == before
    assert prepare("digits", Data(test=0.3), tmp_path).folder != first.folder


@pytest.mark.slow
def test_arrays_that_other_code_made_are_made_again_and_known_by_what_they_hold(tmp_path: Path) -> None:
    """A defect that is mended in how arrays are made must not live on in those that are stored."""
    first = prepare("digits", Data(), tmp_path, code="one")
    array = first.folder / "train" / "image.npy"
    whole = array.read_bytes()

    def damage() -> None:
        array.write_bytes(whole[:-1] + b"x")

    damage()
    for same in (prepare("digits", Data(), tmp_path, code="one"), prepare("digits", Data(), tmp_path)):
        assert same == first and array.read_bytes() != whole
    for how in ({"code": "two"}, {"code": "two", "fresh": True}):
        again = prepare("digits", Data(), tmp_path, code=str(how["code"]), fresh=bool(how.get("fresh")))
        assert again == first and array.read_bytes() == whole
        damage()
    other = prepare("digits", Data(test=0.3), tmp_path)
    assert other.fingerprint == first.fingerprint and other.arrays_sha256 != first.arrays_sha256


def test_nothing_half_written_stays_behind_when_inputs_fail(tmp_path: Path) -> None:
    source = tmp_path / "broken.py"
    source.write_text(
        "from dataclasses import replace\nfrom tasks.workloads.examples.digits import workload as digits\n"
        "def inputs(rows):\n    raise RuntimeError('no')\nworkload = replace(digits, inputs=inputs)\n"
    )
    with pytest.raises(UserError, match=r"inputs\(\) failed: RuntimeError: no"):
        prepare(str(source), Data(), tmp_path / "data")
    assert list((tmp_path / "data" / "digits").iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(50, 400), st.integers(0, 10_000))
def test_rows_stay_in_their_split_when_data_grows_and_is_shuffled(rows: int, seed: int) -> None:
    frame = frame_of(400)
    small = split(frame.head(rows), Data(), Rows())
    large = split(frame.sample(frac=1, random_state=seed), Data(), Rows())
    for name in SPLITS:
        assert set(small[name]["x"]) <= set(large[name]["x"])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=30, max_size=200), st.text(max_size=5))
def test_duplicates_never_straddle_two_splits(values: list[int], salt: str) -> None:
    parts = split(pd.DataFrame({"x": values, "label": [v % 2 for v in values]}), Data(salt=salt), Rows())
    seen = [set(part["x"]) for part in parts.values()]
    assert sum(len(s) for s in seen) == len(set(values))
    assert sum(len(part) for part in parts.values()) == len(values)


def test_the_shares_of_a_hashed_split_are_about_those_asked_for() -> None:
    parts = split(pd.DataFrame({"x": np.arange(20_000)}), Data(validation=0.1, test=0.3), Rows())
    assert [round(len(parts[name]) / 20_000, 1) for name in SPLITS] == [0.6, 0.1, 0.3]


@pytest.mark.parametrize("columns", [["x"], ["when"], ["label"], ["x", "when", "label"]])
def test_a_salt_makes_another_split_of_whatever_columns(columns: list[str]) -> None:
    frame = frame_of(200).assign(label=lambda rows: rows["x"].astype(str))[columns]
    assert not split(frame, Data(), Rows())["test"].equals(split(frame, Data(salt="other"), Rows())["test"])


def test_a_split_by_time_tests_on_the_newest_rows() -> None:
    parts = split(frame_of(100).sample(frac=1, random_state=1), Data(), Rows(time="when"))
    assert parts["train"]["when"].max() < parts["validation"]["when"].min()
    assert parts["validation"]["when"].max() < parts["test"]["when"].min()
    assert len(parts["test"]) == 20


def test_until_replays_history() -> None:
    workload = workload_of(frame_of(100), time="when")
    rows = load_valid(workload, Data(until=datetime.date(2026, 1, 3)))
    assert len(rows) == 48 and rows["when"].max() < pd.Timestamp("2026-01-03")


def test_until_needs_a_time_column() -> None:
    with pytest.raises(UserError, match="needs a time column"):
        load_valid(workload_of(frame_of(10)), Data(until=datetime.date(2026, 1, 3)))


def test_all_schema_failures_are_in_one_message() -> None:
    frame = frame_of(20).assign(x=lambda f: f["x"].where(f.index != 3, 99.0), label=1)
    with pytest.raises(UserError) as caught:
        load_valid(workload_of(frame), Data())
    assert "x: in_range(-9, 9) fails in 1 row, first at 3 (such as 99.0)" in str(caught.value)
    assert "; label is int64 and has to be str." in str(caught.value)


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match="no column 'label'; it has when, x"):
        load_valid(workload_of(frame_of(10).drop(columns="label")), Data())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.head(0), "gave no rows"),
        (lambda f: f.assign(label="cat"), "always 'cat'; a classifier needs two classes"),
        (lambda f: f.assign(label=f["label"].where(f.index != 4)), "empty in 1 of 20 rows"),
        (lambda f: f.to_dict(), "returned dict; return a pandas DataFrame"),
        (lambda f: pd.concat([f, f[["x"]]], axis=1), "more than one column 'x'"),
        (
            lambda f: f.assign(label=f["label"].where(f.index != 4)).set_axis([f"r{i}" for i in f.index]),
            "empty in 1 of 20 rows",
        ),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused_in_a_sentence(change: object, message: str) -> None:
    frame = change(frame_of(20))  # type: ignore[operator]
    schema = pa.DataFrameSchema({"label": pa.Column(str, nullable=True)})
    with pytest.raises(UserError, match=message):
        load_valid(workload_of(frame, schema=schema), Data())


def test_rows_with_names_that_break_the_schema_are_named() -> None:
    frame = frame_of(5).set_axis(list("abcde"))
    frame.loc["c", "x"] = 99.0
    with pytest.raises(UserError, match="in_range.-9, 9. fails in 1 row, first at c"):
        load_valid(workload_of(frame), Data())


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (None, "its schema was not made: TypeError"),
        (dict, "its schema is a dict; give a pandera DataFrameSchema"),
        (
            pa.DataFrameSchema({"x": pa.Column(float)}, strict="filter"),
            "its schema leaves no column 'label'; it has x",
        ),
    ],
)
def test_a_schema_that_is_none_or_leaves_too_little_is_refused(schema: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_valid(workload_of(frame_of(20), schema=schema), Data())


def test_until_against_a_time_that_is_no_date_is_refused_in_a_sentence() -> None:
    workload = workload_of(frame_of(20).assign(when=range(2000, 2020)), time="when")
    with pytest.raises(UserError, match="the time 'when', which is .*pd.to_datetime"):
        load_valid(workload, Data(until=datetime.date(2026, 2, 1)))


@pytest.mark.parametrize(
    "held",
    [
        lambda days: days,
        lambda days: days.dt.date,
        lambda days: days.dt.strftime("%Y-%m-%dT%H:%M"),
        lambda days: days.dt.tz_localize("Asia/Tokyo"),
        lambda days: days.dt.tz_localize("Asia/Tokyo").dt.tz_convert("UTC").dt.tz_convert("Asia/Tokyo"),
        lambda days: days.dt.to_period("D"),
        lambda days: days.dt.tz_localize("Asia/Tokyo").astype("timestamp[us, tz=Asia/Tokyo][pyarrow]"),
    ],
)
def test_until_is_a_day_where_the_rows_are_from(held: Callable[["pd.Series[Any]"], Any]) -> None:
    days = pd.Series(pd.date_range("2026-01-01", periods=20, freq="D"))
    rows = load_valid(
        workload_of(frame_of(20).assign(when=held(days)), time="when"), Data(until=datetime.date(2026, 1, 11))
    )
    assert len(rows) == 10


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ("rows['picture'] = [np.zeros((2, 2))] * 200", "classification", "cannot be stored as Parquet .*one-dim"),
        ("rows['y'] = [1, 'one'] * 100", "classification", "are of the types int, str, which have no common"),
        ("rows['y'] = [1e39, 1.0] * 100", "regression", r"target 'y' is infinite as float32 in \d+ rows"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_stored_or_learned_are_refused_and_leave_nothing(
    tmp_path: Path, change: str, kind: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np, pandas as pd, pandera.pandas as pa\nfrom tasks.workloads import Workload\n"
        "def load():\n    rows = pd.DataFrame({'x': range(200), 'y': [0, 1] * 100})\n"
        f"    {change}\n    return rows\n"
        f"workload = Workload(name='mine', kind={kind!r}, load=load, schema=pa.DataFrameSchema(),\n"
        "    target='y', inputs=lambda rows: {'x': rows[['x']].to_numpy('float32')}, model=lambda: None)\n"
    )
    with pytest.raises(UserError, match=message):
        prepare(str(tmp_path / "mine.py"), Data(), tmp_path / "data")
    assert not any((tmp_path / "data").glob("mine/*"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([-1.0], "The weight 'w' is -1 in 1 of"),
        ([float("inf")], "The weight 'w' is inf in 1 of"),
        ([None], "the weight 'w' is empty in 1 of 200 rows"),
        ([0.0] * 200, "The weight 'w' is 0 in every row"),
        (["much"] * 200, "The weight 'w' is str: give numbers"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path: Path, weights: list[Any], message: str) -> None:
    frame = frame_of(200)
    workload = workload_of(frame.assign(w=weights + [1.0] * (200 - len(weights))), rows=Rows(weight="w"))
    with pytest.raises(UserError, match=message):
        sampling_arrays(load_valid(workload, Data()), workload.sampling)


def test_time_and_slices_are_said_once() -> None:
    frame = frame_of(50)
    assert workload_of(frame, rows=Rows(time="when", slices=("label",))).sampling == Rows(
        time="when", slices=("label",)
    )
    assert workload_of(frame, time="when", rows=Rows(group="x")).sampling == Rows(time="when", group="x")
    with pytest.raises(
        UserError, match=r"time='x' stands beside rows=Rows\(time='when'\): leave the first out"
    ):
        workload_of(frame, time="x", rows=Rows(time="when"))


def test_a_gap_without_a_time_is_refused() -> None:
    with pytest.raises(UserError, match=r"rows.gap='5h' is before a cut in time, and no time is named"):
        workload_of(frame_of(50), rows=Rows(gap="5h"))


def test_a_failing_source_is_the_users_error() -> None:
    def load() -> pd.DataFrame:
        raise FileNotFoundError("rows.csv")

    with pytest.raises(UserError, match=r"load\(\) failed: FileNotFoundError: rows.csv"):
        load_valid(workload_of(frame_of(1), load=load), Data())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda rows: rows, "returned DataFrame; return a dict"),
        (lambda rows: {"x": np.zeros(3, "float32")}, r"inputs\(\)\['x'\] has 3 rows where the frame has 5"),
        (lambda rows: {"x": np.array(3.0)}, r"inputs\(\)\['x'\] has no rows where the frame has 5"),
        (
            lambda rows: {"x": np.array([[np.nan], [np.inf], [0], [1], [2]], "float32")},
            "NaN or infinity in 2 of 5 rows",
        ),
        (lambda rows: {"x": rows["label"].to_numpy()}, "give a numeric numpy array"),
        (lambda rows: {"target": np.zeros(5)}, "use a Python name other than 'target'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_a_sentence(inputs: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_inputs(workload_of(frame_of(5), inputs=inputs), frame_of(5))


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({"y": {1: "length"}}, "dynamic names an input 'y', and inputs.. gives x"),
        ({"x": {2: "length"}}, r"dynamic names axis 2 of 'x', which has the shape \[5, 1\]"),
    ],
)
def test_a_dynamic_axis_that_is_not_there_is_refused(dynamic: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_inputs(workload_of(frame_of(5), dynamic=dynamic), frame_of(5))


def test_arrays_are_made_again_when_a_neighbour_that_makes_them_changed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np, pandas as pd, pandera.pandas as pa\n"
        "from scaling import scaled\n"
        "from tasks.workloads import Workload\n"
        "frame = pd.DataFrame({'x': range(200), 'y': [0, 1] * 100})\n"
        "workload = Workload(name='mine', kind='classification', load=frame.copy, schema=pa.DataFrameSchema(),\n"
        "    target='y', inputs=lambda rows: {'x': scaled(rows)}, model=lambda: None)\n"
    )
    values = []
    for factor in (1, 2):
        (tmp_path / "scaling.py").write_text(
            f"def scaled(rows): return rows[['x']].to_numpy('float32') * {factor}"
        )
        for name in [
            name for name in sys.modules if name == "scaling" or name.startswith("slipway_workload_")
        ]:
            del sys.modules[name]  # as in another process
        importlib.invalidate_caches()
        dataset = prepare(str(tmp_path / "mine.py"), Data(), tmp_path / "data")
        values.append(read_split(dataset, "train").inputs["x"].max())
    assert values[1] == 2 * values[0]


def test_rows_without_a_time_are_refused_where_the_split_is_by_time() -> None:
    frame = frame_of(50)
    frame.loc[:4, "when"] = None
    with pytest.raises(UserError, match="the time 'when' is empty in 5 of 50 rows, which belong to no split"):
        load_valid(workload_of(frame, time="when", schema=pa.DataFrameSchema()), Data())


ORDERS = SUPPORT / "cases" / "orders.py"

FRAMES = SUPPORT / "cases" / "frames.py"


def test_rows_are_the_same_whether_numpy_pandas_or_arrow_holds_them(tmp_path: Path) -> None:
    made = {
        name: prepare(f"{ORDERS}:{name}", Data(), tmp_path) for name in ("workload", "classic", "nullable")
    }
    first = made["classic"]
    for dataset in made.values():
        assert (dataset.fingerprint, dataset.rows, dataset.newest) == (
            first.fingerprint,
            first.rows,
            first.newest,
        )
        for name in SPLITS:
            ours, theirs = read_split(dataset, name), read_split(first, name)
            np.testing.assert_array_equal(ours.inputs["x"], theirs.inputs["x"])
            np.testing.assert_array_equal(ours.target, theirs.target)
    assert prepare(f"{ORDERS}:without_zone", Data(), tmp_path).rows == first.rows
    assert sum(prepare(f"{ORDERS}:hashed", Data(), tmp_path).rows.values()) == 800


@pytest.mark.parametrize("name", ["headless", "mixed", "attrs", "durations", "nested"])
def test_frames_are_taken_as_they_come(tmp_path: Path, name: str) -> None:
    dataset = prepare(f"{FRAMES}:{name}", Data(), tmp_path)
    assert sum(dataset.rows.values()) == 300
    assert sum(len(read_frame(dataset, split)) for split in SPLITS) == 300
    dataset.model_dump_json()


def test_an_instant_that_most_rows_share_is_named_as_the_cause(tmp_path: Path) -> None:
    said = r"300 rows leave none for validation, test, for 240 of them are of one 'day' \(2025-01-02 .*: give a finer time"
    with pytest.raises(UserError, match=said):
        prepare(f"{FRAMES}:instants", Data(), tmp_path)


def test_an_ordered_category_keeps_its_order_also_where_no_row_has_a_class(tmp_path: Path) -> None:
    dataset = prepare(str(SUPPORT / "cases" / "triage.py"), Data(), tmp_path)
    assert dataset.classes == ("low", "medium", "high")
    order = pd.CategoricalDtype(["c", "none", "a", "b"], ordered=True)
    frame = frame_of(40).assign(label=pd.Series([*"abca"] * 10, dtype=order))
    held = pd.Series(pd.arrays.ArrowExtensionArray(pyarrow.array(frame["label"])))
    for column in (frame["label"], held):
        (fitted,) = learn(workload_of(frame), [look_at(workload_of(frame), frame.assign(label=column))])
        assert fitted.classes == ("c", "none", "a", "b")
    unordered = frame.assign(label=frame["label"].cat.as_unordered())
    fitted = learn(workload_of(unordered), [look_at(workload_of(unordered), unordered)])
    assert fitted[0].classes == ("a", "b", "c")
    assert arrays_of(workload_of(unordered), unordered, fitted)["target"].tolist() == [0, 1, 2, 0] * 10


@pytest.mark.parametrize(
    "cell", [[0, 1], np.zeros(2), {"a": 1}, {1, 2}], ids=lambda cell: type(cell).__name__
)
@pytest.mark.parametrize("place", ["target", "slices"])
def test_cells_of_several_values_are_no_target_and_no_slice(cell: object, place: str) -> None:
    frame = frame_of(20).assign(several=[cell] * 20)
    named: dict[str, object] = {"target": "several"} if place == "target" else {"slices": ("several",)}
    workload = workload_of(frame, schema=pa.DataFrameSchema({}), **named)
    with pytest.raises(
        UserError, match=f"'several' has a {type(cell).__name__} in each cell, such as .*: give it one"
    ):
        load_valid(workload, Data())
    if place == "target":
        with pytest.raises(UserError, match="a regression needs numbers"):
            load_valid(replace(workload, kind="regression"), Data())
