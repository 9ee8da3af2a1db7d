"""What the server as a whole knows of a model: which release serves, which is on offer, and whom to blame for a death."""

import pytest
from serving_messages import refusal, release, revert, swap

from infra.serving.ipc.messages import Refusal, Revert
from infra.serving.lifecycle.alias_state import STUBBORN, AliasState


@pytest.fixture
def serving() -> AliasState:
    """Version 2 serves, 1 served before."""
    state = AliasState()
    for version in "12":
        state.offer(release(version))
        state.receive(swap(version))
    return state


def test_a_worker_that_starts_loads_what_serves_and_then_what_is_on_offer(serving: AliasState) -> None:
    assert list(AliasState().wanted()) == []
    assert [each.version for each in serving.wanted()] == ["2"]
    serving.offer(release("3"))
    assert [each.version for each in serving.wanted()] == ["2", "3"]
    serving.receive(refusal("3"))
    assert [each.version for each in serving.wanted()] == ["2"]


def test_a_swap_to_something_that_is_not_on_offer_changes_nothing(serving: AliasState) -> None:
    serving.receive(swap("1"))
    assert serving.serving == release("2")


def test_after_a_revert_the_version_before_serves_and_there_is_nothing_further_back(
    serving: AliasState,
) -> None:
    serving.receive(revert("2", "1"))
    assert (serving.serving, serving.before) == (release("1", back_because="bad"), None)
    assert [each.version for each in serving.wanted()] == ["1"]
    serving.receive(revert("1", "0"))
    assert serving.serving == release("1", back_because="bad")


def test_a_version_that_kills_the_worker_that_loads_it_is_refused(serving: AliasState) -> None:
    serving.offer(release("3"))
    message = serving.worker_died(watch=300)
    assert isinstance(message, Refusal) and message.version == "3"
    assert [each.version for each in serving.wanted()] == ["2"]


def test_a_version_under_which_workers_die_twice_is_reverted_but_not_after_its_watch(
    serving: AliasState,
) -> None:
    assert serving.worker_died(watch=300) is None
    message = serving.worker_died(watch=300)
    assert isinstance(message, Revert) and (message.version, message.back_to) == ("2", "1")
    assert serving.worker_died(watch=300) is None, "there is nothing left to go back to"


def test_workers_that_die_long_after_a_swap_revert_nothing(serving: AliasState) -> None:
    assert [serving.worker_died(watch=0) for _ in range(3)] == [None] * 3
    assert serving.serving == release("2")


def taken(state: AliasState, worker: str) -> list[str]:
    """What the worker would be told again, if it were asked for an hour."""
    again, clock = [], [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.serving.lifecycle.alias_state.time.monotonic", lambda: clock[0])
        for second in range(3600):
            clock[0] = second
            if (release := state.missing(worker)) is not None:
                again.append(release.version)
    return again


def test_a_version_that_a_worker_refused_is_on_offer_as_long_as_another_may_take_it(
    serving: AliasState,
) -> None:
    serving.offer(release("3"))
    serving.receive(refusal("3"), "a", 2)
    serving.receive(swap("3"), "b", 2)
    assert serving.serving == release("3")
    serving.offer(release("4"))
    for worker in "ab":
        serving.receive(refusal("4"), worker, 2)
    assert [each.version for each in serving.wanted()] == ["3"]


def test_a_worker_that_is_not_where_its_siblings_are_is_told_again_and_ever_less_often(
    serving: AliasState,
) -> None:
    for worker in "ab":
        serving.receive(swap("2"), worker, 2)
    serving.offer(release("3"))
    serving.receive(swap("3"), "b", 2)
    again = taken(serving, "a")
    assert set(again) == {"3"} and 10 < len(again) < 100
    assert taken(serving, "b") == []
    serving.receive(swap("3"), "a", 2)
    assert taken(serving, "a") == []
    serving.receive(revert("3", "2"), "a", 2)
    assert taken(serving, "a") == [] and set(taken(serving, "b")) == {"2"}


def test_a_worker_that_refuses_what_its_siblings_serve_is_stubborn_until_it_starts_anew(
    serving: AliasState,
) -> None:
    serving.offer(release("3"))
    serving.receive(swap("3"), "b", 2)
    for _ in range(STUBBORN):
        assert not serving.stubborn("a")
        serving.receive(refusal("3"), "a", 2)
    assert serving.stubborn("a") and not serving.stubborn("b")
    serving.started("a")
    assert not serving.stubborn("a")


def test_where_nothing_may_serve_a_worker_that_starts_loads_nothing(serving: AliasState) -> None:
    serving.stop("1")
    assert serving.serving == release("2"), "another may"
    serving.stop("2")
    assert list(serving.wanted()) == [] and serving.missing("a") is None
    serving.offer(release("3"))
    serving.receive(swap("3"))
    assert serving.serving == release("3")
