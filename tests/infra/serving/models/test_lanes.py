"""Which version answers a key: the same one on every server, and one change at most on the way up."""

from math import sqrt
from types import SimpleNamespace
from typing import Any

from infra.serving.models.lanes import LONGEST_KEY, MOST_KEYS, Lane
from tasks.rollout.record import RolloutRecord

STEPS = (0.0, 0.01, 0.1, 0.5)
KEYS = [b"user-%d" % number for number in range(20_000)]
RECORD = RolloutRecord(
    model="digits", run="r", old=1, new=2, old_sha256="", new_sha256="", salt="s", step=0, weight=0, sequence=1, key="X-User"
)  # fmt: skip


def lane(**changes: Any) -> Lane:
    queue = SimpleNamespace(loop=None, budget=None, max_wait=1.0, timeout=1.0)
    slot: Any = SimpleNamespace(name="digits", batcher=queue)
    pairs: Any = SimpleNamespace(old=None)
    new: Any = None
    return Lane(slot, RECORD.model_copy(update=changes), new, pairs)


def answered_by_new(rollout: Lane) -> list[bool]:
    return [rollout.takes(key) for key in KEYS]


def test_a_growing_weight_changes_a_key_once_at_most_and_every_server_decides_alike() -> None:
    server, late = lane(), lane(weight=STEPS[-1])
    before = [False] * len(KEYS)
    for step, weight in enumerate(STEPS):
        server.obey(RECORD.model_copy(update={"step": step, "weight": weight}))
        now = answered_by_new(server)
        assert not any(old and not new for old, new in zip(before, now, strict=True)), "none goes back"
        assert abs(sum(now) - weight * len(KEYS)) <= 3 * sqrt(weight * (1 - weight) * len(KEYS))
        before = now
    assert before == answered_by_new(late), "whoever starts later decides as those that were there"


def test_what_is_remembered_of_keys_is_bounded_and_changes_no_lot() -> None:
    server = lane(weight=0.5)
    first = answered_by_new(server)
    assert len(server.keys) <= MOST_KEYS < len(KEYS) and answered_by_new(server) == first
    long = [b"%d" % number * (LONGEST_KEY + 1) for number in range(10)]
    assert [server.takes(key) for key in long] == [lane(weight=0.5).takes(key) for key in long]
    assert not server.keys.keys() & set(long)


def test_without_a_key_an_id_decides_and_without_either_chance() -> None:
    server = lane(weight=0.1)
    assert [server.takes(b"", key) for key in KEYS[:99]] == [server.takes(key) for key in KEYS[:99]]
    taken = sum(server.takes(b"") for _ in KEYS)
    assert abs(taken - 0.1 * len(KEYS)) <= 5 * sqrt(0.1 * 0.9 * len(KEYS))


def test_another_salt_has_other_users_first() -> None:
    first, second = (answered_by_new(lane(weight=0.1, salt=salt)) for salt in ("a", "b"))
    both = sum(one and other for one, other in zip(first, second, strict=True))
    assert both < 0.15 * sum(first)


def test_what_is_kept_of_a_choice_is_its_chance_and_no_key() -> None:
    rollout = lane(weight=0.1)
    assert [lot.weight for lot in rollout.lots] == [0.9, 0.1], "by whether the new version answers"
    hashes = {rollout.lots[1].hashed(key) for key in KEYS[:100]}
    assert len(hashes) == 100 and {len(kept) for kept in hashes} == {16}
    assert hashes.isdisjoint(lane(salt="b").lots[1].hashed(key) for key in KEYS[:100])
