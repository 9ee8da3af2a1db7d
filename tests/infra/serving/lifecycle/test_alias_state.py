"""What the server as a whole knows of a model: which release serves, which is on offer, and whom to blame for a death."""

import asyncio
import errno
import json
import logging
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.serving.http.api_keys import Keys
from infra.serving.ipc import launch as early
from infra.serving.ipc.channel import LIMIT, Channel
from infra.serving.ipc.launch import FOLLOWER, Started
from infra.serving.ipc.messages import Looked, Refusal, Release, Revert, Swap, encode
from infra.serving.lifecycle.alias_state import AliasState
from infra.serving.lifecycle.registry import Pointer, Unfetched
from infra.serving.models.shadow import agreement
from infra.serving.options import ProcessJob, ServeOptions, Target
from infra.serving.processes.follower import Follower
from infra.serving.processes.supervisor import Supervisor
from infra.serving.telemetry.board import Board
from infra.serving.telemetry.metrics import merged


def release(version: str) -> Release:
    return Release(
        model="digits",
        source="digits@champion",
        version=version,
        digest=version * 64,
        folder=Path("/cache"),
        evidence="verified",
    )


def swap(version: str, **more: object) -> Swap:
    return Swap(model="digits", version=version, digest=version * 64, seconds=0.1, at=1.0, **more)  # type: ignore[arg-type]


def refusal(version: str, **more: object) -> Refusal:
    return Refusal(model="digits", source="digits@champion", version=version, reason="no", at=2.0, **more)  # type: ignore[arg-type]


def revert(version: str, back_to: str) -> Revert:
    return Revert(model="digits", version=version, digest=version * 64, back_to=back_to, reason="bad", at=3.0)


@pytest.fixture
def serving() -> AliasState:
    """Version 2 serves, 1 served before."""
    standing = AliasState()
    for version in "12":
        standing.offer(release(version))
        standing.heard(swap(version))
    return standing


def test_a_worker_that_starts_loads_what_serves_and_then_what_is_on_offer(serving: AliasState) -> None:
    assert list(AliasState().wanted()) == []
    assert [each.version for each in serving.wanted()] == ["2"]
    serving.offer(release("3"))
    assert [each.version for each in serving.wanted()] == ["2", "3"]
    serving.heard(refusal("3"))
    assert [each.version for each in serving.wanted()] == ["2"]


def test_a_swap_to_something_that_is_not_on_offer_changes_nothing(serving: AliasState) -> None:
    serving.heard(swap("1"))
    assert serving.serving == release("2")


def test_after_a_revert_the_version_before_serves_and_there_is_nothing_further_back(
    serving: AliasState,
) -> None:
    serving.heard(revert("2", "1"))
    assert (serving.serving, serving.before) == (release("1"), None)
    assert [each.version for each in serving.wanted()] == ["1"]
    serving.heard(revert("1", "0"))
    assert serving.serving == release("1")


def test_a_version_that_kills_the_worker_that_loads_it_is_refused(serving: AliasState) -> None:
    serving.offer(release("3"))
    (message,) = serving.worker_died(watch=300)
    assert isinstance(message, Refusal) and message.version == "3"
    assert [each.version for each in serving.wanted()] == ["2"]


def test_a_version_under_which_workers_die_twice_is_reverted_but_not_after_its_watch(
    serving: AliasState,
) -> None:
    assert list(serving.worker_died(watch=300)) == []
    (message,) = serving.worker_died(watch=300)
    assert isinstance(message, Revert) and (message.version, message.back_to) == ("2", "1")
    assert list(serving.worker_died(watch=300)) == [], "there is nothing left to go back to"


def test_workers_that_die_long_after_a_swap_revert_nothing(serving: AliasState) -> None:
    assert [list(serving.worker_died(watch=0)) for _ in range(3)] == [[], [], []]
    assert serving.serving == release("2")


def test_what_several_workers_say_of_one_event_is_told_once() -> None:
    board = Board()
    told = [board.note(message) for message in (swap("1"), swap("1"), swap("2"), swap("2"), revert("2", "1"))]
    assert told == [True, False, True, False, True]
    assert board.counts == {("digits", "swap"): 2, ("digits", "revert"): 1}
    assert [event.kind for event in board.events] == ["revert", "swap", "swap"]


def test_health_shows_a_refusal_until_another_version_serves_and_none_of_a_shadow() -> None:
    board = Board()
    board.note(refusal("7", shadow=True))
    assert board.about("digits")["refused"] is None
    board.note(refusal("8"))
    assert board.about("digits")["refused"] == {"version": "8", "reason": "no"}
    board.note(swap("9", shadow=True))
    assert board.about("digits")["refused"] is not None
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


def test_a_version_made_again_under_its_number_is_news_and_a_worker_that_starts_again_is_not() -> None:
    board = Board()
    assert board.note(swap("1")) and board.note(swap("1").model_copy(update={"digest": "f" * 64}))
    board.note(refusal("3"))
    assert not board.note(swap("1")), "a worker was started again and took up what served"
    assert board.about("digits")["refused"] is not None


def test_a_reason_that_quotes_a_whole_model_still_fits_the_line() -> None:
    long = refusal("1").model_dump() | {"reason": "x" * 10 * LIMIT}
    assert len(encode(Refusal.model_validate(long))) < LIMIT


def test_a_full_disk_is_said_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)

    async def run() -> str:
        ours, theirs = socket.socketpair()
        target = Target.parse("digits")
        job = ProcessJob(targets=(target,), options=ServeOptions(home=tmp_path), run_folder=tmp_path)
        follower = Follower(job, await Channel.open(theirs))
        pointer, cache = Pointer(version="1", created=1), follower.preparer.cache
        follower.followed[0].offered["1"] = (pointer, release("1"))
        with ours:
            cache.root.rmdir()
            cache.root.touch()  # every file in it fails, as on a full disk
            follower._remember(follower.followed[0], "1")
            cache.mark(cache.root / "any")
            registry: Any = None
            with pytest.raises(Unfetched) as unfetched:
                await follower.preparer.from_registry(registry, target, pointer)
            follower.channel.close()
        return str(unfetched.value)

    assert "cannot be written" in asyncio.run(run())


def test_a_process_that_cannot_be_started_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, tries = Target.parse("digits"), []

    async def run() -> None:
        with socket.socket() as listener:
            supervisor = Supervisor((target,), ServeOptions(home=tmp_path), listener, tmp_path, {})

            def start(module: str) -> Started:
                tries.append(module)
                if len(tries) == 2:
                    supervisor.ending.set()
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

            monkeypatch.setattr(early, "start", start)
            await supervisor._keep(supervisor.follower)

    asyncio.run(run())
    assert tries == [FOLLOWER, FOLLOWER]


def test_keys_that_cannot_be_read_stay_and_are_complained_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    path = tmp_path / "keys"
    path.write_text("k3y\n")
    keys = Keys(path)
    path.rename(tmp_path / "away")
    for _ in range(3):
        keys.refresh()
    assert keys.allow(None, b"k3y") and caplog.text.count("the keys stay") == 1
    (tmp_path / "away").rename(path)
    keys.refresh()
    path.unlink()
    keys.refresh()
    assert caplog.text.count("the keys stay") == 2


def test_a_registry_that_cannot_be_read_is_said_until_it_can() -> None:
    board = Board()
    board.note(Looked(model="digits", at=1.0, error="it is down"))
    assert board.about("digits")["registry_error"] == "it is down"
    assert board.about("digits")["registry_seen_seconds_ago"] is None
    board.note(Looked(model="digits", at=1.0))
    assert board.about("digits")["registry_error"] is None
    assert board.about("digits")["registry_seen_seconds_ago"] > 0


def test_numbers_of_workers_are_added_but_for_the_largest() -> None:
    one = {"model": "digits", "version": "1", "rows": 3, "latency": {"counts": [1, 2], "total": 0.5}}
    two = {"model": "digits", "version": "1", "rows": 4, "latency": {"counts": [0, 5], "total": 0.25}}
    other = {"model": "digits", "version": "2", "rows": 9, "largest_difference": 0.5}
    third = {"model": "digits", "version": "2", "rows": 1, "largest_difference": 0.25}
    first, second = merged(json.loads(json.dumps([one, other, two, third])))
    assert first["rows"] == 7 and first["latency"] == {"counts": [1, 7], "total": 0.75}
    assert second["rows"] == 10 and second["largest_difference"] == 0.5


def test_agreement_is_by_class_or_within_a_hundredth() -> None:
    same, largest = agreement(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.4, 0.6], [0.3, 0.7]]))
    assert same.tolist() == [True, False] and largest == pytest.approx(0.5)
    same, _ = agreement(np.array([[100.0], [1.0]]), np.array([[100.5], [1.2]]))
    assert same.tolist() == [True, False]
