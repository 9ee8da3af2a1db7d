"""Putting releases in place: built beside the version that serves, compared with it, swapped in by one assignment."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from infra.serving.errors import NotNow, Unservable
from infra.serving.ipc.messages import Message, Refusal, Release, Revert, Rollout, Swap
from infra.serving.models.lanes import Lane
from infra.serving.models.pairs import BOUNDS, Pairs
from infra.serving.models.slot import Slot
from infra.serving.models.version import LoadedVersion, load_version
from infra.serving.options import ServeOptions
from tasks.rollout.record import RolloutRecord

logger = logging.getLogger("slipway.serving")


class Loader:
    """Changes which version a slot holds, and says so by `tell`."""

    def __init__(
        self, slots: Mapping[str, Slot], options: ServeOptions, tell: Callable[[Message], None]
    ) -> None:
        self.slots = slots
        self.options = options
        self.tell = tell
        self.lock = asyncio.Lock()
        self.rollouts: dict[str, Rollout] = {}
        self.braked: set[str] = set()
        """Rollouts, by their run, whose new version this server found surely worse."""
        self.loop = asyncio.get_running_loop()

    async def load(self, release: Release) -> None:
        """Load a version and let it serve; one that cannot changes nothing and is reported."""
        async with self.lock:
            slot, start = self.slots[release.model], time.perf_counter()
            if slot.current is not None and slot.current.is_of(release):
                return
            try:
                version = slot.kept(release) or await self._build(release, slot)
            except Exception as error:
                self._refuse(release, error)
                return
            if release.back_because is not None and slot.current is not None:
                self._go_back(slot, slot.current, version, release.back_because)
                return
            replaced = self._put_in_place(slot, version)
            seconds = round(time.perf_counter() - start, 4)
            before = None if replaced is None else replaced.release.version
            self.tell(Swap(**release.named, replaced=before, seconds=seconds))
            logger.info("%s version %s serves", release.model, release.version)
            await self._roll(slot)

    def _refuse(self, release: Release, error: Exception) -> None:
        passing = not isinstance(error, Unservable) or isinstance(error, NotNow)
        if not isinstance(error, Unservable):
            logger.error("%s version %s cannot be loaded", release.model, release.version, exc_info=error)
            error = Unservable("it cannot be loaded")
        logger.error("%s version %s is refused: %s", release.model, release.version, error)
        self.tell(Refusal(**release.named, reason=str(error), passing=passing))

    async def _build(self, release: Release, slot: Slot) -> LoadedVersion:
        options = self.options
        version = await asyncio.to_thread(
            load_version, release, options.threads, options.batch, options.max_rows
        )
        difference = slot.current and version.spec.difference(slot.current.spec)
        if difference:
            raise Unservable(f"its signature is not the one being served: {difference}")
        return version

    def _put_in_place(self, slot: Slot, version: LoadedVersion) -> LoadedVersion | None:
        """The version that it replaces."""
        replaced = slot.swap(version)
        slot.watch = None
        if replaced is not None and self.options.watch:
            until = time.perf_counter() + self.options.watch
            pairs = Pairs(version, replaced, BOUNDS, slot.batcher.aside, self._revert_soon, until=until)
            slot.watch, slot.counted[version.release.version] = pairs, pairs.counted
        return replaced

    def _revert_soon(self, pairs: Pairs, reason: str) -> None:
        """From any thread."""
        self.loop.call_soon_threadsafe(self._revert, pairs, reason)

    def _revert(self, pairs: Pairs, reason: str) -> None:
        """The new version did worse: the old one answers again, from the next batch on."""
        slot = self.slots[pairs.new.release.model]
        if slot.current is pairs.new:
            self._go_back(slot, pairs.new, pairs.old, reason)

    async def roll(self, rollout: Rollout) -> None:
        """Let the new version of a rollout answer its share, or nobody."""
        async with self.lock:
            self.rollouts[rollout.model] = rollout
            await self._roll(self.slots[rollout.model])

    async def _roll(self, slot: Slot) -> None:
        """Make the slot's lane what the rollout says, as far as it fits what serves."""
        rollout, lane = self.rollouts.get(slot.name), slot.lane
        record, release = (None, None) if rollout is None else (rollout.record, rollout.release)
        slot.record, slot.lane = record, None
        slot.why = "" if rollout is None else rollout.why
        if record is None or release is None or record.run in self.braked or not _serves(slot, record):
            return
        if lane is not None and lane.record.run == record.run and lane.serves(release):
            lane.obey(record)
            slot.lane = lane
        else:
            await self._open_lane(slot, record, release)

    async def _open_lane(self, slot: Slot, record: RolloutRecord, release: Release) -> None:
        try:
            new = slot.kept(release) or await self._build(release, slot)
        except Exception as error:
            self._refuse(release, error)
            return
        if slot.current is None or not _serves(slot, record):  # it went back meanwhile
            return
        new.numbers = slot.numbers.setdefault(release.version, new.numbers)
        pairs = Pairs(new, slot.current, record.margin, slot.batcher.aside, self._brake_soon, slot.noted)
        if slot.run == record.run:
            pairs.counted = slot.counted.get(release.version, pairs.counted)
        slot.run, slot.counted[release.version] = record.run, pairs.counted
        slot.lane = Lane(slot, record, new, pairs)
        logger.info("%s version %s is rolled out: step %d", slot.name, release.version, record.step)

    def _brake_soon(self, pairs: Pairs, reason: str) -> None:
        """From any thread."""
        self.loop.call_soon_threadsafe(self._brake, pairs, reason)

    def _brake(self, pairs: Pairs, reason: str) -> None:
        """The new version is surely worse: it answers nobody from now on, here and, by the follower, everywhere."""
        slot = self.slots[pairs.new.release.model]
        if slot.lane is None or slot.lane.pairs is not pairs:
            return
        run, slot.lane = slot.lane.record.run, None
        self.braked.add(run)
        back_to = pairs.old.release.version
        logger.error(
            "%s version %s is rolled out no further: %s", slot.name, pairs.new.release.version, reason
        )
        about = {"back_to": back_to, "reason": reason, "rollout": run, "counts": pairs.counts}
        self.tell(Revert(**pairs.new.release.named, **about))

    def _go_back(self, slot: Slot, new: LoadedVersion, old: LoadedVersion, reason: str) -> None:
        slot.swap(old)
        slot.watch = slot.previous = slot.lane = (
            None  # nothing is to be answered by the one that it went back from
        )
        numbers = new.release.version, old.release.version
        logger.error("%s goes back from version %s to %s: %s", slot.name, *numbers, reason)
        self.tell(Revert(**new.release.named, back_to=old.release.version, reason=reason))

    async def stop(self, refusal: Refusal) -> None:
        """What serves may do so no longer, and there is nothing else."""
        async with self.lock:
            slot = self.slots[refusal.model]
            if slot.current is not None and slot.current.release.version == refusal.version:
                slot.current = slot.previous = slot.watch = slot.lane = None

    def follow(self, revert: Revert) -> None:
        """Another worker went back: so does this one, if it can at once; the supervisor sees to the rest."""
        slot = self.slots[revert.model]
        if revert.rollout:
            self.braked.add(revert.rollout)
            slot.lane = slot.lane if slot.lane is None or slot.lane.record.run != revert.rollout else None
            return
        new, old = slot.current, slot.previous
        if new is None or old is None:
            return
        # by its number too: two versions of one training are the same bytes, and back from the older is forward
        if (new.release.version, new.release.digest) != (revert.version, revert.digest):
            return
        if old.release.version == revert.back_to:
            self._go_back(slot, new, old, revert.reason)


def _serves(slot: Slot, record: RolloutRecord) -> bool:
    """Whether the version that a rollout is compared with answers here."""
    return slot.current is not None and slot.current.release.version == str(record.old)
