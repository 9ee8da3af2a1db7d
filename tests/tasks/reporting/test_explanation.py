"""What an answer hangs on, on models whose answer is known to hang on one thing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame
from tasks.errors import UserError
from tasks.records import Candidate, Dataset
from tasks.reporting.attribution import agreement, attribute_test_rows, captum_installed, of_each_class
from tasks.reporting.explained_rows import attributions
from tasks.reporting.explanation import STABLE, explain, requested_rows
from tasks.reporting.features import columns_behind, cut
from tasks.workloads.catalogue import load_workload

pytest.importorskip("captum")
TEMPLATE = load_workload("tasks.workloads.template")


def test_pixels_go_by_their_columns_and_a_dead_one_weighs_nothing(
    linear_digits: tuple[Dataset, Candidate],
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    rows = read_frame(dataset, "test").head(1)
    explanation = explain(load_workload("digits"), dataset, fp32.onnx.path, rows, [0])
    names = [part.name for part in explanation.rows[0].features]
    assert len(names) == 64 and "pixel_3_4" in names
    weights = {part.name: part.weight for part in explanation.rows[0].features}
    dead = [n for n in weights if n.startswith("pixel") and read_frame(dataset, "train")[n].nunique() == 1]
    assert all(weights[name] == 0 for name in dead if rows[name].iloc[0] == 0)
    assert explanation.overall()[0].weight >= explanation.overall()[-1].weight
    assert 0.8 < explanation.agreement <= 1 and explanation.model_copy(update={"agreement": STABLE}).stable
    assert not explanation.model_copy(update={"agreement": STABLE - 0.001}).stable


def by_the_bill(path: Path) -> Path:
    """A model of the template's inputs whose answer is one column's, and nothing else's."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[0, 0], [0, 0.1], [0, 0]], "float32"), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["numbers", "weights"], ["logits"])],
        "bill",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("plan", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_the_one_column_that_decides_has_all_the_weight(tmp_path: Path) -> None:
    dataset = prepare("tasks.workloads.template", Data(), tmp_path / "data")
    rows = read_frame(dataset, "test").head(3)
    explanation = explain(TEMPLATE, dataset, by_the_bill(tmp_path / "model.onnx"), rows, [4, 5, 6])
    assert [row.row for row in explanation.rows] == [4, 5, 6]
    for row in explanation.rows:
        weights = {part.name: part.weight for part in row.features}
        assert set(weights) == {"months", "monthly_bill", "support_calls", "plan"}
        assert {name for name, weight in weights.items() if weight != 0} == {"monthly_bill"}
    assert explanation.overall()[0].name == "monthly_bill" and explanation.agreement == pytest.approx(1)


@pytest.mark.parametrize("rows", ["999999999999999", "-1", "0", "3,99", "", ",", "two"])
def test_rows_that_are_not_there_are_said_at_once(rows: str) -> None:
    with pytest.raises(UserError, match="does not fit: there are 9 test rows|names no rows"):
        requested_rows(rows, TEMPLATE.load().head(9))


def test_columns_are_found_by_what_moves_with_them_also_as_category_codes() -> None:
    frame = TEMPLATE.load().head(50)
    columns = columns_behind(TEMPLATE, frame, TEMPLATE.inputs(frame))
    assert columns == {"numbers": ["months", "monthly_bill", "support_calls"], "plan": ["plan"]}


def test_the_letters_of_a_code_are_one_part_even_where_two_codes_share_some() -> None:
    flights = load_workload("flights")
    frame = pd.DataFrame(
        {
            **{"carrier": ["UA", "US", "DL"], "origin": ["EWR", "JFK", "LGA"], "dest": ["MIA", "MSP", "BOS"]},
            **{name: [1, 2, 3] for name in flights_numbers()},
        }
    )
    columns = columns_behind(flights, frame, flights.inputs(frame))
    assert (columns["carrier"], columns["dest"]) == (["carrier"] * 2, ["dest"] * 3)
    parts = cut({"dest": flights.inputs(frame)["dest"][:1]}, columns)
    assert parts.names == ["dest"] and parts.masks["dest"].tolist() == [[0, 0, 0]]


def flights_numbers() -> list[str]:
    from tasks.workloads.examples.flights import SCHEDULE, WEATHER

    return [*SCHEDULE, *WEATHER]


def test_a_large_picture_goes_by_patches_through_all_channels_and_a_long_row_by_stretches() -> None:
    parts = cut({"image": np.zeros((1, 3, 64, 48), "float32")}, {"image": None})
    mask = parts.masks["image"][0]
    assert len(parts.names) == 256 and parts.names[17] == "image patch 1,1"
    assert (mask[0] == mask[2]).all() and (mask[0, 4:8, 3:6] == 17).all() and (mask[0] == 17).sum() == 12
    assert len(cut({"wave": np.zeros((1, 5000), "float32")}, {"wave": None}).names) == 256


def test_seeds_that_agree_on_nothing_but_nothing_do_not_agree() -> None:
    some, none = np.array([0.0, 1.0, 0.5]), np.zeros(3)
    assert agreement(none, none) == 1 and agreement(some, none) == 0 == agreement(none, some)
    assert agreement(some, 2 * some) == pytest.approx(1) and agreement(some, -some) == pytest.approx(-1)


def test_test_rows_are_taken_of_each_class_in_turn() -> None:
    assert of_each_class(np.array([1, 1, 1, 0, 0, 2]), 5, ("a", "b", "c")) == [3, 0, 5, 4, 1]
    assert of_each_class(np.array([0.5, 0.1]), 5, None) == [0, 1]


def test_the_report_has_time_for_one_row_at_least_and_begins_none_after_its_time(
    linear_digits: tuple[Dataset, Candidate],
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    given = (load_workload("digits"), dataset, fp32.onnx.path)
    assert len(attribute_test_rows(*given, most=4, seconds=0)) == 1
    assert [row.answer for row in attribute_test_rows(*given, most=4, seconds=3600)][:2] == ["0", "1"]


def test_a_picture_that_cannot_be_made_is_a_sentence_and_no_failure(
    linear_digits: tuple[Dataset, Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    (tmp_path / "model.onnx").write_bytes(b"no model")
    broken = attributions("digits", dataset, tmp_path / "model.onnx")
    assert (
        broken.explanation is None and "could not be found: " in broken.missing and "\n" not in broken.missing
    )
    monkeypatch.setattr("tasks.reporting.explained_rows.captum_installed", lambda: False)
    without = attributions("digits", dataset, fp32.onnx.path)
    assert without.explanation is None and "pip install 'slipway[explain]'" in without.missing
    assert captum_installed()


def test_bytes_go_by_words_and_other_integers_by_place() -> None:
    text = np.frombuffer(b"a large dog\0\0\0", np.uint8).astype("int64")[None]
    parts = cut({"text": text}, {"text": None})
    assert parts.names == ["a (0)", "large (1)", "dog (2)", "padding (3)"]
    assert parts.masks["text"][0].tolist() == [0] + [1] * 6 + [2] * 4 + [3] * 3
    codes: dict[str, np.ndarray[Any, Any]] = {"codes": np.array([[1, 2, 3]])}
    assert cut(codes, {"codes": None}).names == ["codes[0]", "codes[1]", "codes[2]"]


def test_rows_are_a_count_or_numbers_or_a_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(10)})
    frame.head(3).to_csv(tmp_path / "rows.csv", index=False)
    frame.tail(2).to_parquet(tmp_path / "rows.parquet")
    assert requested_rows("3", frame)[1] == [0, 1, 2] and requested_rows("7,2", frame)[0]["x"].tolist() == [
        7,
        2,
    ]
    assert len(requested_rows(str(tmp_path / "rows.csv"), frame)[0]) == 3
    assert len(requested_rows(str(tmp_path / "rows.parquet"), frame)[0]) == 2
    for wrong, said in {
        "0": "does not fit",
        "11": "does not fit",
        "x": "names no rows",
        "no.csv": "no file",
    }.items():
        with pytest.raises(UserError, match=said):
            requested_rows(wrong, frame)
