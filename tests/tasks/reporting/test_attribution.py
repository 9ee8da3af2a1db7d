"""What the parts of a row weigh, and of which rows that is asked."""

import numpy as np
import pytest

from tasks.records import Candidate, Dataset
from tasks.reporting.attribution import agreement, attribute_test_rows, captum_installed, of_each_class
from tasks.workloads.catalogue import load_workload

pytestmark = pytest.mark.skipif(not captum_installed(), reason="pip install 'slipway[explain]'")


def test_seeds_that_agree_on_nothing_but_nothing_do_not_agree() -> None:
    some, none = np.array([0.0, 1.0, 0.5]), np.zeros(3)
    assert agreement(none, none) == 1 and agreement(some, none) == 0 == agreement(none, some)
    assert agreement(some, 2 * some) == pytest.approx(1) and agreement(some, -some) == pytest.approx(-1)


def test_test_rows_are_taken_of_each_class_in_turn() -> None:
    assert of_each_class(np.array([1, 1, 1, 0, 0, 2]), 5) == [3, 0, 5, 4, 1]
    assert of_each_class(np.zeros(2), 5) == [0, 1]


def test_the_report_has_time_for_one_row_at_least_and_begins_none_after_its_time(
    linear_digits: tuple[Dataset, Candidate],
) -> None:
    dataset, fp32 = linear_digits
    assert fp32.onnx is not None
    given = (load_workload("digits"), dataset, fp32.onnx.path)
    assert len(attribute_test_rows(*given, most=4, seconds=0)) == 1
    assert [row.answer for row in attribute_test_rows(*given, most=4, seconds=3600)][:2] == ["0", "1"]
