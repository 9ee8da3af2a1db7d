"""What an answer hangs on, on models whose answer is known to hang on one thing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import UserError
from tasks.explain import _asked, explain
from tasks.parts import columns_behind, cut
from tasks.records import Candidate, Dataset
from tasks.workloads import load_workload

pytest.importorskip("captum")
TEMPLATE = load_workload("template")


def test_pixels_go_by_their_columns_and_a_dead_one_weighs_nothing(
    linear_digits: tuple[Dataset, Candidate],
) -> None:
    from tasks.data import read_frame

    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    rows = read_frame(dataset, "test").head(1)
    found = explain(load_workload("digits"), dataset, fp32.onnx.path, rows, [0])
    names = [one.name for one in found.rows[0].features]
    assert len(names) == 64 and "pixel_3_4" in names
    weights = {one.name: one.weight for one in found.rows[0].features}
    dead = [n for n in weights if n.startswith("pixel") and read_frame(dataset, "train")[n].nunique() == 1]
    assert all(weights[name] == 0 for name in dead if rows[name].iloc[0] == 0)
    assert found.overall()[0].weight >= found.overall()[-1].weight
    assert found.stable == (found.agreement >= 0.8)


def test_columns_are_found_by_what_moves_with_them_also_as_category_codes() -> None:
    frame = TEMPLATE.load().head(50)
    found = columns_behind(TEMPLATE, frame, TEMPLATE.inputs(frame))
    assert found == {"numbers": ["months", "monthly_bill", "support_calls"], "plan": ["plan"]}


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
    assert _asked("3", frame)[1] == [0, 1, 2] and _asked("7,2", frame)[0]["x"].tolist() == [7, 2]
    assert len(_asked(str(tmp_path / "rows.csv"), frame)[0]) == 3
    assert len(_asked(str(tmp_path / "rows.parquet"), frame)[0]) == 2
    for wrong, said in {
        "0": "does not fit",
        "11": "does not fit",
        "x": "names no rows",
        "no.csv": "no file",
    }.items():
        with pytest.raises(UserError, match=said):
            _asked(wrong, frame)
