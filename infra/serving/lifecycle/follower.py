"""Following the registry: what an alias names is fetched, inspected and offered to the workers.

What the cache holds from the last run is offered first, which needs no registry; only then is it asked.
"""

import asyncio
import contextlib
import logging
import random
import socket
import time

from infra.serving.errors import Unservable
from infra.serving.ipc.channel import Channel
from infra.serving.ipc.launch import Started
from infra.serving.ipc.messages import Event, Message, Nudge, Revert, Swap
from infra.serving.lifecycle.followed import FollowedTarget
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import Absent, AliasSource, Unfetched
from infra.serving.options import ProcessJob, Target
from tasks.registry.rest import speaks_rest

logger = logging.getLogger("slipway.serving")

AHEAD = ("challenger", "previous")

AHEAD_POLLS = 10

FIRST_SECONDS = 3.0

LEAST_PAUSE = 0.01


class Follower:
    """Follows every target of a server. `inspector`: a process that was started early, for the first version."""

    def __init__(self, job: ProcessJob, channel: Channel, inspector: Started | None = None) -> None:
        self.options = job.options
        self.channel = channel
        self.preparer = Preparer(job.options, inspector)
        self.followed = [FollowedTarget(target, False) for target in job.targets]
        self.followed += [FollowedTarget(Target.parse(text), True) for text in job.options.shadow]
        self.registry: AliasSource | None = None
        self.served = asyncio.Event()
        self.unrecorded: list[Revert] = []

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        await asyncio.gather(*map(self._start, self.followed))
        if not speaks_rest(self.options.registry) and any(
            followed.offered for followed in self.followed
        ):  # importing MLflow would slow the workers down
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.served.wait(), FIRST_SECONDS)
        remote = [followed for followed in self.followed if followed.target.path is None]
        following = [asyncio.create_task(self._follow(followed)) for followed in remote]
        await asyncio.wait([listening, *following], return_when=asyncio.FIRST_COMPLETED)
        for task in following:
            task.cancel()
        await listening

    async def _start(self, followed: FollowedTarget) -> None:
        """What can be served without the registry."""
        target, preparer = followed.target, self.preparer
        try:
            if target.path is not None:
                self.channel.send(await preparer.from_folder(target, target.path))
                return
            note = preparer.cache.recall(target)
            if note is not None:
                release = await preparer.from_cache(target, note.pointer, note.release.folder)
                followed.resume(note)
                self.channel.send(followed.offer(note.pointer, release))
                if followed.refused is not None:
                    self._refuse(followed, followed.refused[0].version, followed.refused[1])
        except Unservable as error:
            self._refuse(followed, "local" if target.path else "in the cache", str(error))

    async def _follow(self, followed: FollowedTarget) -> None:
        """Ask once a period, however long an answer takes; what may come next is fetched beside that."""
        ahead: asyncio.Task[None] | None = None
        while True:
            started = time.monotonic()
            followed.wake.clear()
            try:
                if self.registry is None:
                    self.registry = await asyncio.to_thread(AliasSource, self.options.registry)
                await self._check(self.registry, followed)
                self._checked(followed, None)
                await self._record_reverts(self.registry)
                ahead = ahead or asyncio.create_task(self._keep_ahead(self.registry, followed))
            except Absent as error:
                self._checked(followed, str(error))
            except Exception as error:
                logger.debug("%s: %r", followed.target, error)
                self._checked(followed, f"the registry cannot be read ({type(error).__name__})")
            pause = self.options.poll * random.uniform(0.8, 1.0) - (time.monotonic() - started)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(followed.wake.wait(), max(pause, LEAST_PAUSE))

    async def _record_reverts(self, registry: AliasSource) -> None:
        """Write to the registry which version was found wanting, and why; what cannot be written now is tried again."""
        while self.unrecorded:
            await asyncio.to_thread(registry.note_revert, self.unrecorded[0])
            self.unrecorded.pop(0)

    def _checked(self, followed: FollowedTarget, error: str | None) -> None:
        if error != followed.error:
            followed.error = error
            logger.warning("%s: %s", followed.target, error or "the registry answers again")
        self.channel.send(followed.checked(error))

    async def _check(self, registry: AliasSource, followed: FollowedTarget) -> None:
        pointer = await asyncio.to_thread(registry.resolve, followed.target)
        if not followed.due(pointer):
            return
        try:
            release = await self.preparer.from_registry(registry, followed.target, pointer)
        except Unfetched as error:
            if followed.retry.failed(pointer):
                self._refuse(followed, pointer.version, str(error))
        except Unservable as error:
            followed.seen = pointer
            self._refuse(followed, pointer.version, str(error))
        else:
            followed.seen = pointer
            self.channel.send(followed.offer(pointer, release))

    async def _keep_ahead(self, registry: AliasSource, followed: FollowedTarget) -> None:
        """Have the versions that the alias may move to next in the cache before it does."""
        while followed.target.alias is not None:
            for alias in AHEAD:
                target = followed.target.model_copy(update={"alias": alias})
                with contextlib.suppress(Exception):  # what is wrong with it is said when it is to serve
                    pointer = await asyncio.to_thread(registry.resolve, target)
                    if pointer != followed.seen:
                        await self.preparer.from_registry(registry, target, pointer)
            await asyncio.sleep(self.options.poll * AHEAD_POLLS)

    def _refuse(self, followed: FollowedTarget, version: str, reason: str) -> None:
        logger.error("%s: version %s is refused: %s", followed.target, version, reason)
        self.channel.send(followed.refuse(version, reason))

    async def _listen(self) -> None:
        async for message in self.channel.messages():
            self.receive(message)

    def receive(self, message: Message) -> None:
        """What a worker reports: what serves is remembered, what failed is not tried again."""
        if isinstance(message, Nudge):
            for followed in self.followed:
                followed.wake.set()
        elif isinstance(message, Swap):
            self.served.set()
            for followed in self._about(message):
                self._remember(followed, message.version)
        elif isinstance(message, Revert):
            self.unrecorded.append(message)
            for followed in self._about(message):
                followed.reverted(message.version, message.reason)
                self._remember(followed, message.back_to)

    def _about(self, event: Event) -> list[FollowedTarget]:
        return [each for each in self.followed if (each.target.name, each.shadow) == event.about]

    def _remember(self, followed: FollowedTarget, version: str) -> None:
        note = followed.note(version)
        if note is None:
            return
        try:
            self.preparer.cache.remember(followed.target, note)
        except OSError as error:
            logger.error("%s: what serves cannot be remembered for a restart: %s", followed.target, error)
            return
        self.preparer.cache.evict(
            {release.folder for each in self.followed for _, release in each.offered.values()}
        )


async def follow(job: ProcessJob, line: socket.socket, inspector: Started) -> None:
    """Follow what the job's targets name until the supervisor is gone."""
    await Follower(job, await Channel.open(line), inspector).run()
