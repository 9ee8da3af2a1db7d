"""Following the registry: what an alias names is fetched, inspected and offered to the workers.

What the cache holds from the last run is offered first, which needs no registry; only then is it asked.
"""

import asyncio
import contextlib
import logging
import random
import socket
import time

from infra.serving.errors import NotNow, Unservable
from infra.serving.ipc.channel import Channel
from infra.serving.ipc.launch import Started
from infra.serving.ipc.messages import BEAT_SECONDS, Beat
from infra.serving.lifecycle.ahead import keep_ahead
from infra.serving.lifecycle.cache import Offer, recall
from infra.serving.lifecycle.fallback import fallback
from infra.serving.lifecycle.finding import Finder
from infra.serving.lifecycle.followed import FollowedTarget
from infra.serving.lifecycle.keys import FollowedKeys
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import Absent, AliasSource, Pointer, Registered
from infra.serving.lifecycle.reports import Reports
from infra.serving.lifecycle.rollout import FollowedRollout
from infra.serving.lifecycle.standing import Barred
from infra.serving.lifecycle.statuses import FollowedStatuses
from infra.serving.options import ProcessJob, Target
from tasks.registry.rest import speaks_rest
from tasks.rollout.record import RolloutRecord

logger = logging.getLogger("slipway.serving")

AHEAD_POLLS = 10

FIRST_SECONDS = 3.0

LEAST_PAUSE = 0.01

CHAMPION = "champion"


class Follower:
    """Follows every target of a server. `inspector`: a process that was started early, for the first version."""

    def __init__(self, job: ProcessJob, channel: Channel, inspector: Started | None = None) -> None:
        self.options = job.options
        self.channel = channel
        self.preparer = Preparer(job.options, inspector)
        self.preparer.cache.tidy()
        self.followed = [FollowedTarget(target) for target in job.targets]
        self.rollouts: dict[Target, FollowedRollout] = {}
        self.statuses: dict[str, FollowedStatuses] = {}
        self.keys = FollowedKeys(job.options, self.preparer)
        self.registry: AliasSource | None = None
        self.reports = Reports(self.preparer, self.followed, self.rollouts, channel.send)

    async def run(self) -> None:
        listening, beating = asyncio.create_task(self._listen()), asyncio.create_task(self._beat())
        await asyncio.gather(*map(self._start, self.followed))
        if not speaks_rest(self.options.registry) and any(
            followed.offered for followed in self.followed
        ):  # importing MLflow would slow the workers down
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self.reports.served.wait()
        remote = [followed for followed in self.followed if followed.target.path is None]
        following = [asyncio.create_task(self._follow(followed)) for followed in remote]
        if self.options.all:
            named = [followed.target.name for followed in self.followed]
            finder = Finder(self.options, named, self._source, self.channel.send, self._take_up)
            following.append(asyncio.create_task(finder.run()))
        ended, _ = await asyncio.wait([listening, *following], return_when=asyncio.FIRST_COMPLETED)
        for task in (beating, *following):
            task.cancel()
        for task in ended:
            task.result()  # what follows no longer ends the process, and the next one does

    async def _take_up(self, target: Target) -> None:
        """Follow what was not named; what the cache holds of it first, as ever."""
        followed = FollowedTarget(target)
        self.followed.append(followed)
        await self._start(followed)
        await self._follow(followed)

    async def _source(self) -> AliasSource:
        if self.registry is None:
            self.registry = await asyncio.to_thread(AliasSource, self.options.registry)
        return self.registry

    async def _beat(self) -> None:
        """A word to the supervisor, all the while, that the loop turns."""
        while True:
            self.channel.send(Beat())
            await asyncio.sleep(BEAT_SECONDS)

    async def _start(self, followed: FollowedTarget) -> None:
        """What can be served without the registry."""
        target = followed.target
        if target.path is None:
            return await self._resume(followed)
        try:
            self.channel.send(await self.preparer.from_folder(target, target.path))
        except Unservable as error:
            self._refuse(followed, "local", str(error))

    async def _resume(self, followed: FollowedTarget) -> None:
        """What served in the last run; what served before that, where it may serve no longer."""
        note, refused = recall(self.preparer.cache.root, followed.target), []
        for offer in () if note is None else (note, *filter(None, [note.before])):
            folder = offer.release.folder
            try:
                release = await self.preparer.from_cache(followed.target, offer.pointer, folder)
            except Unservable as error:
                refused.append((offer.pointer.version, f"in the cache: {error}"))
                if isinstance(error, NotNow):
                    followed.retry.failed(offer.pointer, error.longest)
                if not isinstance(error, Barred):
                    break
            else:
                if offer is note:
                    followed.before, followed.seen = note.before, offer.pointer
                because = refused[0][1] if refused else None  # workers may serve on while this starts anew
                self.channel.send(followed.offer(offer.pointer, release, because))
                break
        for version, reason in refused:
            self._refuse(followed, version, reason)

    async def _follow(self, followed: FollowedTarget) -> None:
        """Ask once a period, however long an answer takes; what may come next is fetched beside that."""
        ahead: asyncio.Task[None] | None = None
        if followed.target.alias == CHAMPION:
            self.rollouts[followed.target] = FollowedRollout(followed.target, self.preparer, self.options.key)
            self.statuses[followed.target.name] = FollowedStatuses(
                followed.target.name, self.options.key, self.preparer.cache.changes
            )
        while True:
            started = time.monotonic()
            followed.wake.clear()
            try:
                registry = await self._source()
                await self._check(registry, followed)
                self._checked(followed, None)
                await self.preparer.standings.record(registry)
                await self._report(registry, followed)
                if ahead is None:
                    pause = self.options.poll * AHEAD_POLLS
                    ahead = asyncio.create_task(keep_ahead(self.preparer, registry, followed, pause))
            except Absent as error:
                self._checked(followed, str(error))
            except Exception as error:
                logger.debug("%s: %r", followed.target, error)
                self._checked(followed, f"the registry cannot be read ({type(error).__name__})")
                await self._resume_later(followed)
            self.preparer.standings.save()
            pause = self.options.poll * random.uniform(0.8, 1.0) - (time.monotonic() - started)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(pause, LEAST_PAUSE)):
                    await followed.wake.wait()

    async def _report(self, registry: AliasSource, followed: FollowedTarget) -> None:
        try:
            if rollout := self.rollouts.get(followed.target):
                await rollout.report(socket.gethostname(), registry.report)
        except Exception as error:  # counts wait, and nothing that serves depends on them
            logger.debug("%s: counts cannot be reported: %r", followed.target, error)

    async def _resume_later(self, followed: FollowedTarget) -> None:
        """Without the registry, what could not be looked at when this started is tried again."""
        failed = followed.retry.pointer
        if followed.current is None and failed is not None and followed.retry.due(failed):
            await self._resume(followed)

    def _checked(self, followed: FollowedTarget, error: str | None) -> None:
        if error != followed.error:
            followed.error = error
            logger.warning("%s: %s", followed.target, error or "the registry answers again")
        self.channel.send(followed.checked(error))

    async def _check(self, registry: AliasSource, followed: FollowedTarget) -> None:
        """Look at what the target names, and at what serves where that is something else."""
        absent, pointer = None, None
        rollout = self.rollouts.get(followed.target)
        try:
            pointer = await self._named(registry, followed, rollout)
        except Absent as error:
            absent = error
        if (pointer is not None and followed.due(pointer)) or self.keys.due():
            await self.keys.learn(registry, self.followed, self.rollouts)
        if pointer is not None and followed.due(pointer):
            await self._take(registry, followed, pointer)
        current = followed.current
        if current is not None and (pointer is None or current.pointer.identity != pointer.identity):
            with contextlib.suppress(Absent):
                await self._look_at(registry, followed, current)
        if rollout is not None:
            self.reports.say(await rollout.look(registry, followed.current))
        if absent is not None:
            raise absent

    async def _named(
        self, registry: AliasSource, followed: FollowedTarget, rollout: FollowedRollout | None
    ) -> Pointer:
        """What the target names now, in one read as long as that is what it was; nothing else is taken before a rollout's record is read."""
        target = followed.target
        if rollout is None or not rollout.due():
            pointer = await asyncio.to_thread(registry.resolve, target)
            if rollout is None or not followed.due(pointer):
                return pointer
        registered = await asyncio.to_thread(registry.registered, target.name)
        statuses = self.statuses[target.name]
        if registered.rollout != rollout.text or registered.statuses != statuses.texts:
            await self.keys.learn(registry, self.followed, self.rollouts)  # by which they are signed, perhaps
        self.reports.say(await statuses.read(registered.statuses))
        record = await rollout.read(registered.rollout, registered.newest)
        target = champion(target, registered, record)
        return await asyncio.to_thread(registry.resolve, target)

    async def _take(self, registry: AliasSource, followed: FollowedTarget, pointer: Pointer) -> None:
        try:
            release = await self.preparer.from_registry(registry, followed.target, pointer)
            followed.seen = pointer
            self.channel.send(followed.offer(pointer, release))
        except Unservable as error:
            await self._turn_down(registry, followed, pointer, error)

    async def _look_at(self, registry: AliasSource, followed: FollowedTarget, current: Offer) -> None:
        """Whether what serves beside the alias may go on doing so."""
        named = followed.target.model_copy(update={"alias": None, "version": current.pointer.version})
        pointer = await asyncio.to_thread(registry.resolve, named)
        unchanged = pointer.identity != current.pointer.identity or pointer == current.pointer
        if unchanged or not followed.retry.due(pointer):
            return
        try:
            release = await self.preparer.from_registry(registry, named, pointer)
            followed.offer(pointer, release, current.release.back_because)
        except Unservable as error:
            await self._turn_down(registry, followed, pointer, error)

    async def _turn_down(
        self, registry: AliasSource, followed: FollowedTarget, pointer: Pointer, error: Unservable
    ) -> None:
        """What serves goes on doing so, unless that is what may not."""
        current = followed.current
        serves = current is not None and current.pointer.identity == pointer.identity
        try:
            if isinstance(error, NotNow):
                raise error
            if serves and self.keys.revoking and not isinstance(error, Barred):
                error = Barred(str(error), signed=False)  # with no version before it, it goes on
            if isinstance(error, Barred) and (serves or current is None):
                await self._go_back(registry, followed, pointer, error)
            else:
                self._refuse(followed, pointer.version, str(error))
            followed.seen = pointer
        except NotNow as later:
            if followed.retry.failed(pointer, later.longest):
                self._refuse(followed, pointer.version, str(later))

    async def _go_back(
        self, registry: AliasSource, followed: FollowedTarget, pointer: Pointer, error: Barred
    ) -> None:
        """Let the version before serve; with none, a version whose permit was withdrawn answers no longer all the same."""
        before = followed.before
        back = await fallback(self.preparer, registry, followed.target, pointer, error.back_to, before)
        serves, reason = followed.current is not None, str(error)
        if back is not None:
            self.channel.send(followed.offer(back.pointer, back.release, reason))
            if not serves:
                self._refuse(followed, pointer.version, reason)
            return
        reason += "; there is no version before it that may serve"
        self._refuse(followed, pointer.version, reason, stops=error.signed)
        if error.signed:
            followed.stopped()

    def _refuse(self, followed: FollowedTarget, version: str, reason: str, *, stops: bool = False) -> None:
        logger.error("%s: version %s is refused: %s", followed.target, version, reason)
        self.reports.say(followed.refuse(version, reason, stops=stops))

    async def _listen(self) -> None:
        async for message in self.channel.messages():
            self.reports.receive(message)


def champion(target: Target, registered: Registered, record: RolloutRecord | None) -> Target:
    """The version that an alias names; while a rollout is open, no hand lets its new version answer everybody. Absent when there is none."""
    version = registered.aliases.get(str(target.alias))
    if version is None:
        raise Absent(f"no {target.alias} yet: {target} serves as soon as the registry has it")
    if record is not None and record.open and version == str(record.new):
        version = str(record.old)
    return target.model_copy(update={"alias": None, "version": version})


async def follow(job: ProcessJob, line: socket.socket, inspector: Started) -> None:
    """Follow what the job's targets name until the supervisor is gone."""
    await Follower(job, await Channel.open(line), inspector).run()
