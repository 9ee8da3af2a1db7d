"""Which rollouts a server obeys: signed by its key, of its model, never an older state; and whom the alias names meanwhile."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serving_messages import release

from infra.serving.errors import Unservable
from infra.serving.ipc.messages import Tally
from infra.serving.lifecycle.cache import Offer
from infra.serving.lifecycle.follower import champion
from infra.serving.lifecycle.registry import Absent, Pointer, Registered
from infra.serving.lifecycle.rollout import FollowedRollout
from infra.serving.options import Target
from tasks.rollout.record import RolloutRecord, sign_record
from tasks.rollout.reported import PodReport
from tasks.system.signing import create_key_pair

TARGET = Target.parse("digits")

RECORD = RolloutRecord(
    model="digits", run="r", old=1, new=2, old_sha256="1" * 64, new_sha256="2" * 64, salt="s", step=1, weight=0.1, sequence=5
)  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    create_key_pair(folder / "private.pem", folder / "public.pem")
    return folder / "private.pem", folder / "public.pem"


class Preparing:
    """What has every version in the cache, and whose `trouble` is with a version."""

    def __init__(self, root: Path) -> None:
        self.cache = SimpleNamespace(root=root, changes=root)
        self.trouble: Unservable | None = None
        self.prepared = 0

    async def from_registry(self, registry: Any, target: Target, pointer: Pointer) -> Any:
        self.prepared += 1
        if self.trouble is not None:
            raise self.trouble
        return release(pointer.version)


class Registry:
    def __init__(self) -> None:
        self.reverted = ""

    def resolve(self, target: Target) -> Pointer:
        return Pointer(version=str(target.version), created=1, reverted=self.reverted)


def followed(root: Path, keys: tuple[Path, Path]) -> FollowedRollout:
    preparer: Any = Preparing(root)
    return FollowedRollout(TARGET, preparer, keys[1])


def serving(version: str) -> Offer:
    return Offer(pointer=Pointer(version=version, created=1), release=release(version))


def test_what_is_not_signed_older_or_of_another_model_changes_nothing(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    async def run() -> None:
        rollout = followed(tmp_path, keys)
        signed = sign_record(RECORD, keys[0])
        assert await rollout.read(signed) == RECORD and not rollout.why
        unsigned = signed.replace('\\"weight\\":0.1', '\\"weight\\":0.9')
        older = sign_record(RECORD.model_copy(update={"weight": 0.9, "sequence": 4}), keys[0])
        other = sign_record(RECORD.model_copy(update={"model": "glosses"}), keys[0])
        assert unsigned != signed
        for text, why in ((unsigned, "not signed"), (older, "older"), (other, "glosses"), ("{}", "damaged")):
            assert await rollout.read(text) == RECORD and why in rollout.why
        again = followed(tmp_path, keys)
        assert await again.read(older) is None and "older" in again.why, "a restart forgets no sequence"
        newer = RECORD.model_copy(update={"run": "another", "sequence": 1})
        assert await again.read(sign_record(newer, keys[0])) == newer, "another rollout begins anew"
        assert await again.read("") is None
        nobody = FollowedRollout(TARGET, rollout.preparer, tmp_path / "none.pem")
        assert await nobody.read(signed) is None and "no public key" in nobody.why

    asyncio.run(run())


def test_the_new_version_answers_only_beside_the_champion_that_it_is_compared_with(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    async def run() -> None:
        rollout, registry = followed(tmp_path, keys), Registry()
        preparing: Any = rollout.preparer
        source: Any = registry
        await rollout.read(sign_record(RECORD, keys[0]))
        told = await rollout.look(source, serving("3"))
        assert told is not None and told.release is None and "does not serve here" in told.why
        told = await rollout.look(source, serving("1"))
        assert told is not None and told.release is not None and told.release.version == "2"
        assert await rollout.look(source, serving("1")) is None and preparing.prepared == 1, "said once"
        registry.reverted, preparing.trouble = "a note", Unservable("another went back from it")
        for news in (True, False):
            told = await rollout.look(source, serving("1"))
            assert (told is not None) == news
            assert told is None or (told.release is None and "another went back" in told.why)
        assert preparing.prepared == 2, "what was refused is not proved again at every look"
        await rollout.read(sign_record(RECORD.model_copy(update={"open": False, "sequence": 6}), keys[0]))
        told = await rollout.look(source, serving("1"))
        assert told is not None and told.release is None and told.record is not None and not told.why

    asyncio.run(run())


def test_while_it_is_open_no_hand_lets_the_new_version_answer_everybody() -> None:
    def named(alias: str, record: RolloutRecord | None) -> str | None:
        return champion(TARGET, Registered({"champion": alias}, ""), record).version

    closed = RECORD.model_copy(update={"open": False})
    assert named("2", RECORD) == "1" and named("2", closed) == named("2", None) == "2"
    assert named("3", RECORD) == "3", "what is neither serves, as ever"
    with pytest.raises(Absent):
        champion(TARGET, Registered({}, ""), None)


def test_counts_wait_for_the_registry_and_the_newest_of_a_process_is_written(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    report = PodReport.model_validate({"at": "2026-11-27T10:00:00Z", "sequence": 5})
    written: list[tuple[str, str]] = []

    def away(run: str, process: str, text: str) -> None:
        raise ConnectionError

    def note(run: str, process: str, text: str) -> None:
        written.append((run, process))
        assert PodReport.model_validate_json(text).sequence == 6

    async def run() -> None:
        rollout = followed(tmp_path, keys)
        for sequence in (5, 6):
            newest = report.model_copy(update={"sequence": sequence})
            rollout.counted(Tally(model="digits", run="r", process="7-1", report=newest))
            with pytest.raises(ConnectionError):
                await rollout.report("vm", away)
        await rollout.report("vm", note)
        await rollout.report("vm", note)
        assert written == [("r", "vm-7-1")]

    asyncio.run(run())
