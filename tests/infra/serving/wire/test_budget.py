"""One budget for all that is held: what is taken is given back, and large ones leave room for small ones."""

from infra.serving.wire.budget import SMALL, Budget, Hold, no_room
from infra.serving.wire.headings import CLOSE, heading_of

LARGE = 2 * SMALL


def test_large_ones_leave_a_part_of_the_budget_to_small_ones() -> None:
    budget = Budget(4 * LARGE)
    large, small = [Hold(budget) for _ in range(5)], Hold(budget)
    assert [hold.grow(LARGE) for hold in large] == [True, True, True, False, False]
    assert small.grow(SMALL) and budget.used == 3 * LARGE + SMALL
    assert not small.grow(1), "it is no small one any more"
    for hold in (*large, small):
        hold.release()
    assert budget.used == 0


def test_what_grows_piece_by_piece_is_judged_by_the_whole() -> None:
    budget = Budget(4 * LARGE)
    budget.used = 3 * LARGE
    hold = Hold(budget)
    assert hold.grow(SMALL) and not hold.grow(SMALL) and hold.size == SMALL


def test_what_turns_out_smaller_gives_the_rest_back() -> None:
    budget = Budget(4 * LARGE)
    hold = Hold(budget)
    assert hold.grow(LARGE)
    hold.shrink(10)
    assert (hold.size, budget.used) == (10, 10)
    hold.release()
    assert (hold.size, budget.used) == (0, 0)


def test_whoever_finds_no_room_is_told_to_come_again_on_another_connection() -> None:
    pairs = heading_of(no_room()).pairs
    assert (b"retry-after", b"1") in pairs and CLOSE in pairs
    assert no_room() is not no_room(), "one that is raised again would keep what it has been through"
