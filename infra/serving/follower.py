"""A process that follows the registry: what an alias names is fetched, inspected and offered to the workers.

It first offers what the cache holds from the last run, which needs no registry and no mlflow, and only then looks.
"""

import asyncio
import contextlib
import logging
import random
import shutil
import socket
import sys
import time
from pathlib import Path

from infra.serving.cache import Cache, Note
from infra.serving.channel import Channel
from infra.serving.errors import Unservable
from infra.serving.inspection import Question, inspect
from infra.serving.log import set_up
from infra.serving.messages import Looked, Nudge, Refusal, Release, Revert, Swap
from infra.serving.options import Job, Target
from infra.serving.source import Pointer, Registry

logger = logging.getLogger("slipway.serving")


class Followed:
    """One target and how far it has been followed."""

    def __init__(self, target: Target, shadow: bool) -> None:
        self.target = target
        self.shadow = shadow
        self.seen: Pointer | None = None
        self.offered: dict[str, tuple[Pointer, Release]] = {}
        self.refused: tuple[Pointer, str] | None = None
        self.error: str | None = None


class Follower:
    """Follows every target of a server."""

    def __init__(self, job: Job, channel: Channel) -> None:
        self.options = job.options
        self.channel = channel
        self.cache = Cache(job.options.cache)
        shadows = [Target.parse(text) for text in job.options.shadow]
        self.followed = [Followed(target, False) for target in job.targets] + [
            Followed(target, True) for target in shadows
        ]
        self.nudged = asyncio.Event()

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        for followed in self.followed:
            await self._start(followed)
        remote = [followed for followed in self.followed if followed.target.path is None]
        if remote:
            following = asyncio.create_task(self._follow(remote))
            await asyncio.wait({listening, following}, return_when=asyncio.FIRST_COMPLETED)
            following.cancel()
        await listening

    async def _start(self, followed: Followed) -> None:
        """What can be served without the registry."""
        target = followed.target
        if target.path is not None:
            finding = await inspect(Question(folder=target.path, model=target.name))
            if finding.refused is not None or finding.digest is None:
                self._refuse(followed, "local", None, finding.refused or "no digest")
                return
            self._send(
                Release(
                    model=target.name,
                    source=str(target),
                    version="local",
                    digest=finding.digest,
                    folder=target.path,
                    evidence="local",
                )
            )
            return
        note = self.cache.recall(target)
        if note is not None:
            followed.refused = None if note.refused is None else (note.refused, note.reason or "")
            followed.seen = note.refused or note.pointer
            try:
                await self._offer(followed, note.pointer, note.release.folder)
            except Unservable as error:
                followed.seen = None
                logger.error("%s in the cache is refused: %s", target, error)

    async def _follow(self, followed: list[Followed]) -> None:
        registry: Registry | None = None
        while True:
            for each in followed:
                try:
                    registry = registry or await asyncio.to_thread(Registry, self.options.registry)
                    await self._look(registry, each)
                    self._looked(each, None)
                except Exception as error:
                    self._looked(
                        each,
                        f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}",
                    )
            self.nudged.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.nudged.wait(), self.options.poll * random.uniform(0.9, 1.1))

    def _looked(self, followed: Followed, error: str | None) -> None:
        if error != followed.error:
            followed.error = error
            if error is not None:
                logger.warning("%s: %s; what serves keeps serving", followed.target, error)
        self.channel.send(
            Looked(model=followed.target.name, shadow=followed.shadow, at=time.time(), error=error)
        )

    async def _look(self, registry: Registry, followed: Followed) -> None:
        pointer = await asyncio.to_thread(registry.resolve, followed.target)
        if pointer == followed.seen:
            return
        if followed.refused is not None and followed.refused[0] != pointer:
            followed.refused = None
        followed.seen = pointer
        try:
            folder = self.cache.known(followed.target, pointer) or await self._fetch(
                registry, followed.target, pointer
            )
            await self._offer(followed, pointer, folder)
        except Unservable as error:
            self._refuse(followed, pointer.version, None, str(error))

    async def _fetch(self, registry: Registry, target: Target, pointer: Pointer) -> Path:
        incoming = self.cache.incoming()
        try:
            folder = await asyncio.to_thread(registry.fetch, target.name, pointer.version, incoming)
            return self.cache.keep(folder)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    async def _offer(self, followed: Followed, pointer: Pointer, folder: Path) -> None:
        """Inspect a folder of the cache and hand it to the workers; Unservable when it is not fit."""
        signed = not self.options.allow_unsigned
        key = self.options.key if signed else None
        inspected = self.cache.inspected(folder)
        finding = await inspect(
            Question(folder=folder, model=followed.target.name, key=key, parse=not inspected)
        )
        if finding.refused is not None or finding.digest is None:
            raise Unservable(finding.refused or "no digest")
        self.cache.mark(folder)
        self.cache.learn(followed.target, pointer, folder)
        release = Release(
            model=followed.target.name,
            shadow=followed.shadow,
            source=str(followed.target),
            version=pointer.version,
            digest=finding.digest,
            folder=folder,
            evidence="verified" if signed else "unsigned",
            decided=finding.decided,
        )
        followed.offered[release.version] = (pointer, release)
        self._send(release)

    def _send(self, release: Release) -> None:
        self.channel.send(release)

    def _refuse(self, followed: Followed, version: str, digest: str | None, reason: str) -> None:
        logger.error("%s version %s is refused: %s", followed.target, version, reason)
        self.channel.send(
            Refusal(
                model=followed.target.name,
                shadow=followed.shadow,
                source=str(followed.target),
                version=version,
                digest=digest,
                reason=reason,
                at=time.time(),
            )
        )

    async def _listen(self) -> None:
        """What the workers report: what serves is remembered, what failed is not tried again."""
        async for message in self.channel.messages():
            if isinstance(message, Nudge):
                self.nudged.set()
            elif isinstance(message, Swap | Revert):
                self._remember(message)

    def _remember(self, message: Swap | Revert) -> None:
        shadow = isinstance(message, Swap) and message.shadow
        for followed in self.followed:
            if (
                followed.target.name != message.model
                or followed.shadow != shadow
                or followed.target.path is not None
            ):
                continue
            version = message.back_to if isinstance(message, Revert) else message.version
            if isinstance(message, Revert) and message.version in followed.offered:
                followed.refused = (followed.offered[message.version][0], message.reason)
            if version in followed.offered:
                pointer, release = followed.offered[version]
                refused, reason = followed.refused or (None, None)
                self.cache.remember(
                    followed.target, Note(pointer=pointer, release=release, refused=refused, reason=reason)
                )


async def run(job: Job, line: socket.socket) -> None:
    await Follower(job, await Channel.open(line)).run()


def main() -> None:
    """Started by the supervisor: the job on standard input, the line as a descriptor."""
    job = Job.model_validate_json(sys.stdin.buffer.read())
    set_up(job.options.log_level, "follower")
    asyncio.run(run(job, socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
