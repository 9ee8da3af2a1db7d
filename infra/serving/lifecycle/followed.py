"""One alias, version or folder that is followed: what it named last, what was offered of it, and what was refused."""

import asyncio
import time

from infra.serving.ipc.messages import Refusal, RegistryCheck, Release
from infra.serving.lifecycle.cache import Note
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import Target

MAX_PAUSE = 30.0


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


class FollowedTarget:
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

    def due(self, pointer: Pointer) -> bool:
        """Whether the target names something else than it did, or its files are to be tried again; the old refusal is over."""
        if pointer == self.seen or not self.retry.due(pointer):
            return False
        if self.refused is not None and self.refused[0] != pointer:
            self.refused = None
        return True

    def offer(self, pointer: Pointer, release: Release) -> Release:
        """The release as it is told to the workers."""
        release = release.model_copy(update={"shadow": self.shadow})
        self.offered[release.version] = (pointer, release)
        return release

    def refuse(self, version: str, reason: str) -> Refusal:
        return Refusal(model=self.target.name, shadow=self.shadow, version=version, reason=reason)

    def reverted(self, version: str, reason: str) -> None:
        """A version did worse than the one before: it is not taken again after a restart."""
        if version in self.offered:
            self.refused = (self.offered[version][0], reason)

    def checked(self, error: str | None) -> RegistryCheck:
        return RegistryCheck(model=self.target.name, shadow=self.shadow, error=error)

    def resume(self, note: Note) -> None:
        """Take up what was remembered of the last run."""
        self.refused = None if note.refused is None else (note.refused, note.reason or "")
        self.seen = note.refused or note.pointer

    def note(self, version: str) -> Note | None:
        """What is to be remembered of it for a restart, once `version` serves; None where there is nothing to follow."""
        if version not in self.offered or self.target.path is not None:
            return None
        pointer, release = self.offered[version]
        refused, reason = self.refused or (None, None)
        return Note(pointer=pointer, release=release, refused=refused, reason=reason)
