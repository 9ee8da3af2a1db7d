"""What a row is made of: columns, words, patches, places."""

from typing import Any

import numpy as np
import pandas as pd
from checkout import SUPPORT

from tasks.reporting.features import columns_behind, cut
from tasks.workloads.catalogue import load_workload

TEMPLATE = load_workload("tasks.workloads.templates.table")


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


def test_bytes_go_by_words_and_other_integers_by_place() -> None:
    text = np.frombuffer(b"a large dog\0\0\0", np.uint8).astype("int64")[None]
    parts = cut({"text": text}, {"text": None})
    assert parts.names == ["a (0)", "large (1)", "dog (2)", "padding (3)"]
    assert parts.masks["text"][0].tolist() == [0] + [1] * 6 + [2] * 4 + [3] * 3
    codes: dict[str, np.ndarray[Any, Any]] = {"codes": np.array([[1, 2, 3]])}
    assert cut(codes, {"codes": None}).names == ["codes[0]", "codes[1]", "codes[2]"]


def test_a_column_whose_cells_are_pictures_goes_by_its_places() -> None:
    workload = load_workload(str(SUPPORT / "cases" / "shapes.py"))
    frame = workload.load().head(30)  # type: ignore[union-attr]
    inputs = workload.inputs(frame)
    assert columns_behind(workload, frame, inputs) == {"image": None}
    row = {name: array[:1] for name, array in inputs.items()}
    assert len(cut(row, {"image": None}).names) == 144
