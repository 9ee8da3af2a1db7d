"""A process that follows the registry: what an alias names is fetched, inspected and offered to the workers.

It first offers what the cache holds from the last run, which needs no registry, and only then looks.
"""

import asyncio
import contextlib
import logging
import random
import socket
import sys
import time

from infra.serving.errors import Unservable
from infra.serving.ipc.channel import Channel
from infra.serving.ipc.log import set_up
from infra.serving.ipc.messages import Looked, Nudge, Refusal, Release, Revert, Swap
from infra.serving.lifecycle.cache import Note
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import Absent, AliasSource, Pointer, Unfetched
from infra.serving.options import ProcessJob, Target
from tasks.registry.rest import speaks_rest

logger = logging.getLogger("slipway.serving")

AHEAD = ("challenger", "previous")

AHEAD_POLLS = 10

MAX_PAUSE = 30.0

FIRST_SECONDS = 3.0

LEAST_PAUSE = 0.01


class Retry:
    """When to try again to fetch a version whose files could not be had: soon at first, then less and less often."""

    def __init__(self) -> None:
        self.pointer: Pointer | None = None
        self.at = 0.0
        self.pause = 0.5

    def due(self, pointer: Pointer) -> bool:
        return pointer != self.pointer or time.monotonic() >= self.at

    def failed(self, pointer: Pointer) -> bool:
        """Note a failure; whether it is the first of this version."""
        first = pointer != self.pointer
        self.pause = 0.5 if first else min(MAX_PAUSE, self.pause * 2)
        self.pointer, self.at = pointer, time.monotonic() + self.pause
        return first


class Followed:
    """One target and how far it has been followed."""

    def __init__(self, target: Target, shadow: bool) -> None:
        self.target = target
        self.shadow = shadow
        self.seen: Pointer | None = None
        self.offered: dict[str, tuple[Pointer, Release]] = {}
        self.refused: tuple[Pointer, str] | None = None
        self.error: str | None = None
        self.retry = Retry()
        self.wake = asyncio.Event()


class Follower:
    """Follows every target of a server."""

    def __init__(self, job: ProcessJob, channel: Channel) -> None:
        self.options = job.options
        self.channel = channel
        self.preparer = Preparer(job.options)
        shadows = [Target.parse(text) for text in job.options.shadow]
        self.followed = [Followed(target, False) for target in job.targets] + [
            Followed(target, True) for target in shadows
        ]
        self.registry: AliasSource | None = None
        self.served = asyncio.Event()
        self.unrecorded: list[Revert] = []

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        await asyncio.gather(*map(self._start, self.followed))
        at_once = speaks_rest(self.options.registry)
        if not at_once and any(
            followed.offered for followed in self.followed
        ):  # importing MLflow takes a core
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.served.wait(), FIRST_SECONDS)
        remote = [followed for followed in self.followed if followed.target.path is None]
        following = [asyncio.create_task(self._follow(followed)) for followed in remote]
        await asyncio.wait([listening, *following], return_when=asyncio.FIRST_COMPLETED)
        for task in following:
            task.cancel()
        await listening

    async def _start(self, followed: Followed) -> None:
        """What can be served without the registry."""
        target, preparer = followed.target, self.preparer
        try:
            if target.path is not None:
                self.channel.send(await preparer.from_folder(target, target.path))
                return
            note = preparer.cache.recall(target)
            if note is not None:
                release = await preparer.from_cache(target, note.pointer, note.release.folder)
                followed.refused = None if note.refused is None else (note.refused, note.reason or "")
                followed.seen = note.refused or note.pointer
                self._offer(followed, note.pointer, release)
                if followed.refused is not None:
                    self._refuse(followed, followed.refused[0].version, followed.refused[1])
        except Unservable as error:
            self._refuse(followed, "local" if target.path else "in the cache", str(error))

    async def _follow(self, followed: Followed) -> None:
        """Look once a period, however long a look takes; what may come next is fetched beside that."""
        ahead: asyncio.Task[None] | None = None
        while True:
            started = time.monotonic()
            followed.wake.clear()
            try:
                if self.registry is None:
                    self.registry = await asyncio.to_thread(AliasSource, self.options.registry)
                await self._look(self.registry, followed)
                self._looked(followed, None)
                await self._record_reverts(self.registry)
                ahead = ahead or asyncio.create_task(self._keep_ahead(self.registry, followed))
            except Absent as error:
                self._looked(followed, str(error))
            except Exception as error:
                logger.debug("%s: %r", followed.target, error)
                self._looked(followed, f"the registry cannot be read ({type(error).__name__})")
            pause = self.options.poll * random.uniform(0.8, 1.0) - (time.monotonic() - started)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(followed.wake.wait(), max(pause, LEAST_PAUSE))

    async def _record_reverts(self, registry: AliasSource) -> None:
        """Write to the registry which version was found wanting, and why; what cannot be written now is tried again."""
        while self.unrecorded:
            await asyncio.to_thread(registry.note_revert, self.unrecorded[0])
            self.unrecorded.pop(0)

    def _looked(self, followed: Followed, error: str | None) -> None:
        if error != followed.error:
            followed.error = error
            logger.warning("%s: %s", followed.target, error or "the registry answers again")
        self.channel.send(
            Looked(model=followed.target.name, shadow=followed.shadow, at=time.time(), error=error)
        )

    async def _look(self, registry: AliasSource, followed: Followed) -> None:
        pointer = await asyncio.to_thread(registry.resolve, followed.target)
        if pointer == followed.seen or not followed.retry.due(pointer):
            return
        if followed.refused is not None and followed.refused[0] != pointer:
            followed.refused = None
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
            self._offer(followed, pointer, release)

    async def _keep_ahead(self, registry: AliasSource, followed: Followed) -> None:
        """Have the versions that the alias may move to next in the cache before it does."""
        while followed.target.alias is not None:
            for alias in AHEAD:
                target = followed.target.model_copy(update={"alias": alias})
                with contextlib.suppress(Exception):  # what is wrong with it is said when it is to serve
                    pointer = await asyncio.to_thread(registry.resolve, target)
                    if pointer != followed.seen:
                        await self.preparer.from_registry(registry, target, pointer)
            await asyncio.sleep(self.options.poll * AHEAD_POLLS)

    def _offer(self, followed: Followed, pointer: Pointer, release: Release) -> None:
        release = release.model_copy(update={"shadow": followed.shadow})
        followed.offered[release.version] = (pointer, release)
        self.channel.send(release)

    def _refuse(self, followed: Followed, version: str, reason: str) -> None:
        logger.error("%s: version %s is refused: %s", followed.target, version, reason)
        self.channel.send(
            Refusal(
                model=followed.target.name,
                shadow=followed.shadow,
                source=str(followed.target),
                version=version,
                reason=reason,
                at=time.time(),
            )
        )

    async def _listen(self) -> None:
        """What the workers report: what serves is remembered, what failed is not tried again."""
        async for message in self.channel.messages():
            if isinstance(message, Swap):
                self.served.set()
            elif isinstance(message, Revert):
                self.unrecorded.append(message)
            for followed in self.followed:
                if isinstance(message, Nudge):
                    followed.wake.set()
                elif isinstance(message, Swap) and (message.model, message.shadow) == (
                    followed.target.name,
                    followed.shadow,
                ):
                    self._remember(followed, message.version)
                elif isinstance(message, Revert) and (message.model, False) == (
                    followed.target.name,
                    followed.shadow,
                ):
                    if message.version in followed.offered:
                        followed.refused = (followed.offered[message.version][0], message.reason)
                    self._remember(followed, message.back_to)

    def _remember(self, followed: Followed, version: str) -> None:
        if version not in followed.offered or followed.target.path is not None:
            return
        pointer, release = followed.offered[version]
        refused, reason = followed.refused or (None, None)
        note = Note(pointer=pointer, release=release, refused=refused, reason=reason)
        try:
            self.preparer.cache.remember(followed.target, note)
        except OSError as error:
            logger.error("%s: what serves cannot be remembered for a restart: %s", followed.target, error)
            return
        self.preparer.cache.evict(
            {release.folder for each in self.followed for _, release in each.offered.values()}
        )


async def run(job: ProcessJob, line: socket.socket) -> None:
    await Follower(job, await Channel.open(line)).run()


def main() -> None:
    """Started by the supervisor: the job on standard input, the line as a descriptor."""
    text = sys.stdin.buffer.read()
    if not text:  # started early, and not needed after all
        return
    job = ProcessJob.model_validate_json(text)
    set_up(job.options.log_level, "follower")
    asyncio.run(run(job, socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
