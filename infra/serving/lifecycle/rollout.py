"""A rollout, followed like an alias: what its signed record says, and whether its new version may answer here.

A record that is not signed by our key is not obeyed, nor an older one of a rollout than was obeyed before. Whatever is amiss, the
champion answers; without the registry what was obeyed last stays.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from infra.serving.errors import NotNow, Unservable
from infra.serving.ipc.messages import Rollout, Tally
from infra.serving.lifecycle.cache import Offer
from infra.serving.lifecycle.followed import Retry
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import Absent, AliasSource, Pointer
from infra.serving.options import Target
from tasks.errors import UserError
from tasks.rollout.record import RecordError, RolloutRecord, read_record
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen
from tasks.system.keyring import read_keyring

logger = logging.getLogger("slipway.serving")

MOST_RUNS = 50

LOOKS = 10
"""At the alias for one at the model's record, where no rollout is open: one that begins reaches nobody for minutes."""


class Obeyed(Frozen):
    """The highest sequence of each rollout of a model that was obeyed here, by its run, newest last."""

    sequences: dict[str, int] = {}


class FollowedRollout:
    """The rollout of one model, as this server obeys it."""

    def __init__(self, target: Target, preparer: Preparer, key: Path) -> None:
        self.name = target.name
        self.preparer = preparer
        self.key = key
        self.file = preparer.cache.root / "rollouts" / f"{target.name}.json"
        self.text = ""
        self.record: RolloutRecord | None = None
        self.why = ""
        self.new: Offer | None = None
        self.newest: Pointer | None = None
        self.failed: Unservable | None = None
        self.retry = Retry()
        self.said: Rollout | None = None
        self.unread = LOOKS
        self.tallies: dict[str, Tally] = {}

    def due(self) -> bool:
        """Whether this look is at the record, too: each is while a rollout is open, else the first and now and then one."""
        self.unread += 1
        return self.unread >= LOOKS or (self.record is not None and self.record.open)

    async def read(self, text: str, newest: Pointer | None = None) -> RolloutRecord | None:
        """What the tag's text says, where that is to be obeyed; None where there is no rollout. `newest`: the model's newest version, as read with it."""
        self.unread, self.newest = 0, newest
        if text != self.text:
            try:
                record = await asyncio.to_thread(self._obeyed, text) if text else None
                self.record, self.why = record, ""
            except RecordError as error:
                self.why = str(error).rstrip(".")
                logger.error("%s: %s", self.name, self.why)
            self.text = text
        return self.record

    def _obeyed(self, text: str) -> RolloutRecord:
        try:
            checks = read_keyring(self.key, self.preparer.cache.changes).fits
        except (OSError, UserError) as error:
            raise RecordError(
                f"There is no public key to check the rollout's record with ({error})."
            ) from error
        record = read_record(text, checks)
        if record.model != self.name:
            raise RecordError(f"The rollout's record is of {record.model}.")
        try:
            before = Obeyed.model_validate_json(self.file.read_bytes()).sequences
        except (OSError, ValidationError):
            before = {}
        if record.sequence < before.get(record.run, 0):
            raise RecordError(f"The rollout's record is older than the one before: {record.sequence}.")
        runs = {run: before[run] for run in [*before][-MOST_RUNS:] if run != record.run}
        if before.get(record.run) != record.sequence:
            try:
                newest = Obeyed(sequences={**runs, record.run: record.sequence})
                write_atomically(self.file, newest.model_dump_json().encode())
            except OSError as error:  # it is remembered until this process ends, by `record`
                logger.error("%s cannot be written: %s", self.file, error)
        return record

    async def look(self, registry: AliasSource, champion: Offer | None) -> Rollout | None:
        """What to tell the workers, where that is news: the record, and the version that it lets answer."""
        record, why = self.record, self.why
        self.new = self.new if record is not None and record.open else None
        if record is not None and record.open:
            try:
                await self._prepare(registry, record, champion)
            except (Absent, Unservable) as error:
                self.new, why = None, f"version {record.new}: {error}"
        release = None if self.new is None else self.new.release
        return self._news(Rollout(model=self.name, record=record, release=release, why=why))

    def _news(self, rollout: Rollout) -> Rollout | None:
        record, release, why = rollout.record, rollout.release, rollout.why
        if rollout == self.said or (self.said is None and record is None and not why):
            return None
        if release is None and why and (self.said is None or self.said.why != why):
            logger.error("%s: nobody is answered by a rollout's new version: %s", self.name, why)
        self.said = rollout
        return rollout

    async def _prepare(self, registry: AliasSource, record: RolloutRecord, champion: Offer | None) -> None:
        """Have the new version here, proved; looked at again whenever something is written on it. Unservable says why not."""
        serving = None if champion is None else (champion.release.version, champion.release.digest)
        if serving != (str(record.old), record.old_sha256):
            raise Unservable(f"it is compared with version {record.old}, which does not serve here")
        target = Target(name=self.name, version=str(record.new))
        pointer = await self._pointer(registry, target)
        if (
            self.new is not None
            and pointer == self.new.pointer
            and self.new.release.digest == record.new_sha256
        ):
            return
        if self.failed is not None and not self.retry.due(pointer):
            raise self.failed
        try:
            release = await self.preparer.from_registry(registry, target, pointer)
            if release.digest != record.new_sha256:
                raise Unservable("its bytes are not those that the rollout is of")
        except Unservable as error:
            self.failed = error
            self.retry.failed(pointer, error.longest if isinstance(error, NotNow) else float("inf"))
            if not isinstance(error, NotNow):
                self.retry.at = float("inf")
            raise
        self.failed, self.new = None, Offer(pointer=pointer, release=release)

    async def _pointer(self, registry: AliasSource, target: Target) -> Pointer:
        """As it came with the model a moment ago, where it is the model's newest."""
        newest, self.newest = self.newest, None
        if newest is not None and newest.version == target.version:
            return newest
        return await asyncio.to_thread(registry.resolve, target)

    def looked_at_anew(self) -> None:
        """Something is known of the new version that its pointer does not say yet."""
        self.new = self.failed = None

    def counted(self, tally: Tally) -> None:
        """Keep the newest that a worker has counted, until it is reported."""
        self.tallies[tally.process] = tally

    async def report(self, host: str, note: Callable[[str, str, str], None]) -> None:
        """Write what workers have counted as tags of the rollout's run; what cannot be written now is kept."""
        for process, tally in tuple(self.tallies.items()):
            await asyncio.to_thread(note, tally.run, f"{host}-{process}", tally.report.model_dump_json())
            if self.tallies.get(process) is tally:
                del self.tallies[process]
