"""Which rows make up each step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.batches import Order, OrderOfUnits


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


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    batch_size=st.integers(1, 50),
    accumulate=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_no_step_process_or_batch_cuts_a_query(
    sizes: list[int], batch_size: int, accumulate: int, seed: int
) -> None:
    queries = (
        np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype("float64")
    )
    order = OrderOfUnits(queries, batch_size, seed)
    epoch = [order.rows(step) for step in range(order.steps_an_epoch)]
    assert sorted(np.concatenate(epoch).tolist()) == list(range(len(queries)))
    assert all(len(rows) > 1 or len(queries) == 1 for rows in epoch)
    shared = [[order.share(rows, rank, 2) for rank in range(2)] for rows in epoch]
    batches = [order.parts(rows, accumulate) for rows in epoch]
    for step, pieces in zip([*epoch, *epoch], [*shared, *batches], strict=True):
        assert sorted(np.concatenate(pieces).tolist()) == sorted(step.tolist())
    for pieces in (epoch, *shared, *batches):
        held = [{*queries[rows].tolist()} for rows in pieces]
        assert sum(map(len, held)) == len(set().union(*held))


def test_steps_of_whole_queries_are_about_as_large_as_asked_and_shuffled_anew() -> None:
    queries = np.repeat(np.arange(100), 7)
    order = OrderOfUnits(queries, 64, seed=1)
    sizes = [len(order.rows(step)) for step in range(2 * order.steps_an_epoch)]
    assert order.steps_an_epoch == 11 and max(sizes) - min(sizes) <= 7
    assert order.rows(0).tolist() != order.rows(11).tolist()
    assert OrderOfUnits(queries, 64, seed=1).rows(15).tolist() == order.rows(15).tolist()
