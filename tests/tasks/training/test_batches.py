"""Which rows make up each step."""

import numpy as np
import pytest

from tasks.training.batches import Order


def test_rows_come_once_an_epoch_in_an_order_of_their_own() -> None:
    order = Order(rows=103, batch_size=10, seed=3)
    epochs = [
        np.concatenate(
            [order.rows(epoch * order.steps_an_epoch + step) for step in range(order.steps_an_epoch)]
        )
        for epoch in range(2)
    ]
    assert all(sorted(epoch.tolist()) == list(range(103)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    assert Order(103, 10, 3).rows(15).tolist() == order.rows(15).tolist()


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, [1]), (9, [9]), (20, [10, 10]), (21, [10, 11]), (22, [10, 10, 2])]
)
def test_no_batch_has_one_row_unless_that_is_all_there_is(rows: int, sizes: list[int]) -> None:
    order = Order(rows, batch_size=10, seed=0)
    assert [len(order.rows(step)) for step in range(order.steps_an_epoch)] == sizes
