"""What an answer hangs on, on models whose answer is known to hang on one thing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.config import Data
from tasks.data.dataset import prepare, read_frame
from tasks.errors import UserError
from tasks.records import Candidate, Dataset
from tasks.reporting.explanation import STABLE, explain, explain_version, requested_rows
from tasks.workloads.catalogue import load_workload

pytest.importorskip("captum")
TEMPLATE = load_workload("tasks.workloads.templates.table")


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
    dataset = prepare("tasks.workloads.templates.table", Data(), tmp_path / "data")
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


def test_a_csv_file_has_the_kinds_that_were_learned_from(tmp_path: Path) -> None:
    """007 is no seven, and a day is no text."""
    learned = pd.DataFrame(
        {"code": ["007", "010"], "day": pd.to_datetime(["2026-01-01", "2026-02-01"]), "weight": [1.5, 2.0]}
    )
    learned.to_csv(tmp_path / "rows.csv", index=False)
    pd.testing.assert_frame_equal(requested_rows(str(tmp_path / "rows.csv"), learned)[0], learned)
    (tmp_path / "wrong.csv").write_text("code,weight\n007,heavy\n")
    with pytest.raises(
        UserError, match="wrong.csv has cells of another kind than was learned from: could not convert"
    ):
        requested_rows(str(tmp_path / "wrong.csv"), learned)


def test_a_version_is_explained_on_the_rows_that_it_was_judged_on(tmp_path: Path) -> None:
    """Though its workload loads others by now, with other classes."""
    import promotions

    file, home = tmp_path / "mine.py", tmp_path / "home"
    source = "from tasks.workloads.templates.table import *\nfrom dataclasses import replace\nfrom tasks.workloads.templates import table as template\n"
    file.write_text(f"{source}workload = replace(template.workload, name='mine')\n")
    dataset = prepare(str(file), Data(), home / "datasets")
    folder = tmp_path / "version"
    folder.mkdir()
    by_the_bill(folder / "model.onnx")
    evidence = promotions.make_evidence("c" * 64, "mine").model_copy(
        update={"workload": str(file), "fingerprint": dataset.fingerprint, "dataset": dataset.folder.name}
    )
    before = explain_version(evidence, 3, folder, "2,5", home)
    file.write_text(
        f"{source}workload = replace(template.workload, name='mine', load=lambda: template.load().sample(frac=0.5, "
        "random_state=1).assign(churned='x'))\n"
    )
    assert explain_version(evidence, 3, folder, "2,5", home) == before


def test_of_one_logit_what_holds_the_answer_up_weighs_above_zero_for_either_class(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    dataset = prepare("tasks.workloads.templates.table", Data(), tmp_path / "data")
    bills = read_frame(dataset, "train")["monthly_bill"]
    tensors = {
        "weights": np.array([[0], [1], [0]], "float32"),
        "middle": np.array([bills.median()], "float32"),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["numbers", "weights"], ["bill"]),
            helper.make_node("Sub", ["bill", "middle"], ["logits"]),
        ],
        "bill",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("plan", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "m.onnx",
    )
    test = read_frame(dataset, "test")
    order = test["monthly_bill"].to_numpy().argsort()
    rows = test.iloc[[order[0], order[-1]]].reset_index(drop=True)
    lowest, highest = explain(TEMPLATE, dataset, tmp_path / "m.onnx", rows, [0, 1]).rows
    assert lowest.answer != highest.answer
    for row in (lowest, highest):
        assert {part.name: part.weight for part in row.features}["monthly_bill"] > 0
