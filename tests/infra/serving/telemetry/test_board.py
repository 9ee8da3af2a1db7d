"""What the board shows of the server's recent events, and what it leaves out."""

from serving_messages import refusal, release, revert, swap

from infra.serving.ipc.messages import RegistryCheck, Told
from infra.serving.telemetry.board import Board
from tasks.registry.status_tags import StatusTag


def test_what_several_workers_say_of_one_event_is_told_once() -> None:
    board = Board()
    told = [board.note(message) for message in (swap("1"), swap("1"), swap("2"), swap("2"), revert("2", "1"))]
    assert told == [True, False, True, False, True]
    assert board.counts == {("digits", "swap"): 2, ("digits", "revert"): 1}
    assert [event.kind for event in board.events] == ["revert", "swap", "swap"]


def test_health_shows_a_refusal_until_another_version_serves() -> None:
    board = Board()
    board.note(refusal("8"))
    assert board.about("digits")["refused"] == {"version": "8", "reason": "no"}
    board.note(swap("9"))
    assert board.about("digits")["refused"] is None


def test_a_refusal_is_over_when_the_alias_names_what_serves_and_counts_anew_the_next_time() -> None:
    board = Board()
    board.note(release("1"))
    board.note(swap("1"))
    for _ in range(2):
        board.note(release("3"))
        assert board.note(refusal("3")) and not board.note(refusal("3"))
        assert board.about("digits")["refused"] is not None
        board.note(release("1"))
        assert board.about("digits")["refused"] is None
    assert board.counts["digits", "refusal"] == 2


def test_what_is_refused_stands_while_the_version_before_serves_again_and_says_its_newest_reason() -> None:
    board = Board()
    board.note(revert("2", "1"))
    board.note(release("1", back_because="bad"))
    assert board.about("digits")["refused"] == {"version": "2", "reason": "bad"}
    for reason in ("no files", "withdrawn"):
        board.note(refusal("3").model_copy(update={"reason": reason}))
    assert board.about("digits")["refused"] == {"version": "3", "reason": "withdrawn"}
    assert (
        board.behind("digits") == {"version": "3", "reason": "withdrawn"} and board.behind("glosses") is None
    )
    assert board.counts["digits", "refusal"] == 1


def test_a_version_made_again_under_its_number_is_news_and_a_worker_that_starts_again_is_not() -> None:
    board = Board()
    assert board.note(swap("1")) and board.note(swap("1").model_copy(update={"digest": "f" * 64}))
    board.note(refusal("3"))
    assert not board.note(swap("1")), "a worker was started again and took up what served"
    assert board.about("digits")["refused"] is not None


def test_a_registry_that_cannot_be_read_is_said_until_it_can() -> None:
    board = Board()
    board.note(RegistryCheck(model="digits", at=1.0, error="it is down"))
    assert board.about("digits")["registry_error"] == "it is down"
    assert board.behind("digits") == {"version": None, "reason": "it is down"}
    assert board.about("digits")["registry_seen_seconds_ago"] is None
    board.note(RegistryCheck(model="digits", at=1.0))
    assert board.about("digits")["registry_error"] is None
    assert board.about("digits")["registry_seen_seconds_ago"] > 0


def test_of_what_flows_say_the_last_word_counts_and_a_tag_that_is_gone_says_nothing() -> None:
    board = Board()
    tags = [StatusTag(model="digits", subject="traffic", said="v7", tone=tone) for tone in ("good", "bad")]  # type: ignore[arg-type]
    for tag in tags:
        assert not board.note(Told(model="digits", statuses=(tag,)))
    assert board.statuses == {"digits": {"traffic": tags[1]}}
    board.note(Told(model="digits", statuses=()))
    assert board.statuses == {"digits": {}}
