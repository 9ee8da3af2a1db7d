"""How often a challenger says the same."""

import numpy as np
import pytest

from infra.serving.models.shadow import agreement


def test_agreement_is_by_class_or_within_a_hundredth() -> None:
    same, largest = agreement(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.4, 0.6], [0.3, 0.7]]))
    assert same.tolist() == [True, False] and largest == pytest.approx(0.5)
    same, _ = agreement(np.array([[100.0], [1.0]]), np.array([[100.5], [1.2]]))
    assert same.tolist() == [True, False]
