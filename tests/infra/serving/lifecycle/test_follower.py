"""The follower on a machine with trouble; with a registry it is tested in processes/test_follower.py and test_fallback.py."""

import asyncio
import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serving_messages import swap

from infra.serving.ipc.messages import Refusal
from infra.serving.lifecycle import followed, preparation
from infra.serving.lifecycle.cache import KEEP
from infra.serving.lifecycle.follower import Follower
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult
from infra.serving.lifecycle.registry import Pointer, Registered, Unfetched
from infra.serving.lifecycle.rollout import LOOKS, FollowedRollout
from infra.serving.lifecycle.statuses import FollowedStatuses
from infra.serving.options import ProcessJob, ServeOptions, Target
from tasks.rollout.record import RolloutRecord, sign_record
from tasks.system.signing import create_key_pair


class Registry:
    """One whose alias names version `at`, and whose files are a few bytes."""

    def __init__(self) -> None:
        self.at, self.fetched, self.down = 1, 0, 0

    def resolve(self, target: Target) -> Pointer:
        return Pointer(version=str(self.at), created=self.at)

    def fetch(self, name: str, version: str, into: Path) -> Path:
        self.fetched += 1
        if self.down > 0:
            self.down -= 1
            raise Unfetched("it is down")
        (into / "model.onnx").write_text(f"weights of version {version}")
        return into


class Machine:
    """A follower, what it tells the workers, and a clock that is ours."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.registry: Any = Registry()
        self.said: list[Any] = []
        self.deaths = self.inspections = 0
        self.clock = 0.0
        options = ServeOptions(home=home, allow_unsigned=True)
        job = ProcessJob(targets=(Target.parse("digits"),), options=options, run_folder=home)
        channel: Any = SimpleNamespace(send=self.said.append)
        self.follower = Follower(job, channel)
        patch.setattr(preparation, "inspect", self.inspect)
        patch.setattr(followed, "time", SimpleNamespace(monotonic=lambda: self.clock))

    async def inspect(self, request: InspectionRequest, inspector: object) -> InspectionResult:
        self.inspections += 1
        if self.deaths > 0:
            self.deaths -= 1
            return InspectionResult(refused="the process that inspected it died (-9)", passing=True)
        assert request.folder is not None
        return InspectionResult(
            digest=hashlib.sha256((request.folder / "model.onnx").read_bytes()).hexdigest()
        )

    async def poll(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock += 1
            await self.follower._check(self.registry, self.follower.followed[0])

    @property
    def offered(self) -> list[str]:
        return [message.version for message in self.said if message.kind == "release"]

    @property
    def refused(self) -> list[Refusal]:
        return [message for message in self.said if isinstance(message, Refusal)]

    def folders(self) -> list[Path]:
        return [path for path in self.follower.preparer.cache.root.iterdir() if len(path.name) == 64]


@pytest.fixture
def on_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Machine], Coroutine[Any, Any, None]]], None]:
    return lambda test: asyncio.run(test(Machine(tmp_path, monkeypatch)))


def test_a_full_disk_is_said_and_ends_nothing(
    on_machine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)

    async def test(machine: Machine) -> None:
        await machine.poll()
        cache = machine.follower.preparer.cache
        shutil.rmtree(cache.root)
        cache.root.touch()  # every file in it fails, as on a full disk
        machine.follower.reports.receive(swap("1"))
        assert "what serves cannot be remembered" in caplog.text
        cache.mark(cache.root / "any")
        machine.registry.at = 2
        await machine.poll(20)
        (refusal,) = machine.refused
        assert "cannot be written" in refusal.reason
        cache.root.unlink()
        await machine.poll(60)
        assert machine.offered == ["1", "2"], "it is taken as soon as there is room"

    on_machine(test)


@pytest.mark.parametrize("trouble", ["registry", "inspector"])
def test_what_passes_is_tried_again_ever_more_rarely_and_said_once(on_machine: Any, trouble: str) -> None:
    async def test(machine: Machine) -> None:
        if trouble == "registry":
            machine.registry.down = 6
        else:
            machine.deaths = 6
        await machine.poll(20)
        assert machine.offered == []
        tries = machine.registry.fetched if trouble == "registry" else machine.inspections
        assert 3 <= tries <= 6
        await machine.poll(600)
        assert machine.offered == ["1"] and len(machine.refused) == 1

    on_machine(test)


def test_what_a_worker_could_not_load_now_is_offered_again_and_what_it_must_not_is_not(
    on_machine: Any,
) -> None:
    async def test(machine: Machine) -> None:
        await machine.poll()
        about = {"model": "digits", "version": "1", "reason": "no memory"}
        machine.follower.reports.receive(Refusal(**about, passing=True))  # type: ignore[arg-type]
        await machine.poll(5)
        assert machine.offered == ["1", "1"]
        machine.follower.reports.receive(Refusal(**about))  # type: ignore[arg-type]
        await machine.poll(5)
        assert machine.offered == ["1", "1"]

    on_machine(test)


def garble(folder: Path) -> None:
    """What names the folder."""
    for path in (folder.parent / "versions").iterdir():
        path.write_bytes(b"\xff/../..")


def test_a_damaged_folder_is_fetched_again_and_so_is_one_that_is_gone(on_machine: Any) -> None:
    async def test(machine: Machine) -> None:
        await machine.poll()
        for count, damage in enumerate(
            (
                lambda folder: (folder / "model.onnx").write_text("bits"),
                lambda folder: (folder / "more").touch(),
                shutil.rmtree,
                garble,
                lambda folder: shutil.rmtree(folder.parent),
            )
        ):
            (folder,) = machine.folders()
            damage(folder)
            machine.follower.reports.receive(
                Refusal(model="digits", version="1", reason="not the file that was verified", passing=True)
            )
            await machine.poll(60)
            (folder,) = machine.folders()
            assert (folder / "model.onnx").read_text() == "weights of version 1"
            assert len(machine.offered) == count + 2 and machine.registry.fetched == count + 2

    on_machine(test)


def test_folders_that_were_offered_once_are_pruned_and_those_in_use_are_not(on_machine: Any) -> None:
    async def test(machine: Machine) -> None:
        for version in range(1, 41):
            machine.registry.at = version
            await machine.poll()
            machine.follower.reports.receive(swap(str(version)))
        cache, target = machine.follower.preparer.cache, machine.follower.followed[0]
        assert len(machine.folders()) <= KEEP + 2 and len(target.offered) == 2
        assert len(list((cache.root / "versions").iterdir())) == len(machine.folders())
        assert target.serving is not None and target.serving.release.folder.is_dir()
        assert target.before is not None and target.before.release.folder.is_dir()

    on_machine(test)


class Rolling(Registry):
    """One that has a rollout's record, and counts how often it is asked what."""

    def __init__(self) -> None:
        super().__init__()
        self.record, self.asked = "", Counter[str]()

    def registered(self, name: str) -> Registered:
        self.asked["model"] += 1
        newest = Pointer(version="2", created=2)
        return Registered({"champion": str(self.at)}, self.record, newest=newest)

    def resolve(self, target: Target) -> Pointer:
        self.asked["version"] += 1
        version = int(target.version or self.at)
        return Pointer(version=str(version), created=version)


def weights(version: int) -> str:
    return hashlib.sha256(f"weights of version {version}".encode()).hexdigest()


@pytest.mark.parametrize("polls", range(0, 2 * LOOKS, 3))
def test_the_record_is_read_now_and_then_until_a_rollout_is_open_and_before_another_version_is_taken(
    on_machine: Any, tmp_path: Path, polls: int
) -> None:
    create_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    about = {"old": 1, "new": 2, "old_sha256": weights(1), "new_sha256": weights(2), "step": 1, "weight": 0.1}
    record = RolloutRecord(model="digits", run="r", salt="s", sequence=1, **about)  # type: ignore[arg-type]

    async def test(machine: Machine) -> None:
        registry = machine.registry = Rolling()
        follower, target = machine.follower, machine.follower.followed[0].target
        rollout = FollowedRollout(target, follower.preparer, tmp_path / "public.pem")
        follower.rollouts[target] = rollout
        follower.statuses["digits"] = FollowedStatuses("digits", tmp_path / "public.pem", tmp_path)
        await machine.poll(2 * LOOKS + polls)
        looks, models = 2 * LOOKS + polls, registry.asked["model"]
        assert models == -(-looks // LOOKS) and registry.asked["version"] == looks
        registry.record = sign_record(record, tmp_path / "private.pem")
        if polls % 2:
            registry.at = 2  # by hand, in the same moment
        else:
            await machine.poll(LOOKS)
        await machine.poll()
        assert rollout.new is not None and rollout.new.release.version == "2"
        assert machine.offered == ["1"], "the new version answers its share and not everybody"
        registry.at = 2
        registry.asked.clear()
        await machine.poll(3)
        assert registry.asked == {"model": 3, "version": 3}, (
            "the new version comes with the model: only the champion is read beside"
        )
        assert machine.offered == ["1"]
        ended = record.model_copy(update={"sequence": 2, "open": False})
        registry.record = sign_record(ended, tmp_path / "private.pem")
        await machine.poll()
        assert machine.offered == ["1", "2"], "it is the champion now"

    on_machine(test)


def test_a_follower_whose_following_fails_ends_so_that_another_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        machine = Machine(tmp_path, monkeypatch)

        async def forever() -> Any:
            await asyncio.sleep(60)
            yield

        async def fails(followed: object) -> None:
            raise LookupError("not meant to happen")

        machine.follower.channel.messages = forever  # type: ignore[assignment]
        monkeypatch.setattr(machine.follower, "_follow", fails)
        with pytest.raises(LookupError):
            await machine.follower.run()
        assert [message.kind for message in machine.said] == ["beat"]

    asyncio.run(test())
