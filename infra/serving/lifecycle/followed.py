"""One alias, version or folder that is followed: what it named last, what was offered of it, and what serves."""

import asyncio
import time

from infra.serving.ipc.messages import Refusal, RegistryCheck, Release, Revert
from infra.serving.lifecycle.cache import Note, Offer
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import Target


class Retry:
    """When to try a version again that could not be had this time: soon at first, then less and less often."""

    def __init__(self) -> None:
        self.pointer: Pointer | None = None
        self.at = 0.0
        self.pause = 0.5

    def due(self, pointer: Pointer) -> bool:
        return pointer != self.pointer or time.monotonic() >= self.at

    def failed(self, pointer: Pointer, longest: float) -> bool:
        """Note a failure; whether it is the first of this version."""
        first = pointer != self.pointer
        self.pause = 0.5 if first else min(longest, self.pause * 2)
        self.pointer, self.at = pointer, time.monotonic() + self.pause
        return first


class FollowedTarget:
    """One target and how far it has been followed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.seen: Pointer | None = None
        self.ahead: dict[str, Pointer] = {}
        self.offered: dict[str, Offer] = {}
        self.latest: Offer | None = None
        self.serving: Offer | None = None
        self.before: Offer | None = None
        self.held_back: Refusal | None = None
        self.error: str | None = None
        self.retry = Retry()
        self.wake = asyncio.Event()

    @property
    def current(self) -> Offer | None:
        """What serves, or is about to."""
        return self.latest or self.serving

    def due(self, pointer: Pointer) -> bool:
        """Whether the target names something else than it did, or it is to be tried again."""
        return pointer != self.seen and self.retry.due(pointer)

    def offer(self, pointer: Pointer, release: Release, back_because: str | None = None) -> Release:
        """The release as it is told to the workers."""
        release = release.model_copy(update={"back_because": back_because})
        offer = Offer(pointer=pointer, release=release)
        self.offered[release.version] = offer
        if self.serving is not None and same(self.serving, offer):
            self.serving, self.latest = offer, None
        else:
            self.latest = offer
        return release

    def refuse(self, version: str, reason: str, *, stops: bool = False) -> Refusal | None:
        """What to tell the workers, now: while they load something, it would be wiped off the board by that."""
        refusal = Refusal(model=self.target.name, version=version, reason=reason, stops=stops)
        self.held_back = refusal if self.latest is not None and not stops else None
        return None if self.held_back is not None else refusal

    def spoken(self) -> Refusal | None:
        """The refusal that was held back, once what was being loaded has come to something."""
        refusal, self.held_back = self.held_back, None
        return refusal

    def swapped(self, version: str) -> None:
        offer = self.offered.get(version)
        if offer is None:
            return
        if self.latest is not None and same(self.latest, offer):
            self.latest, self.retry = None, Retry()
        if self.serving is None or not same(self.serving, offer):
            self.before, self.serving = self.serving or self.before, offer

    def went_back(self, revert: Revert) -> None:
        """Workers are with the version before again; there is none before that."""
        back = self.offered.get(revert.back_to)
        if back is not None and not revert.rollout:
            self.serving, self.before, self.latest = back, None, None

    def turned_down(self, refusal: Refusal) -> Offer | None:
        """What workers could not load; None when that was not what they were offered."""
        offer = self.latest or self.serving
        if offer is None or offer.release.version != refusal.version:
            return None
        self.latest = None
        return offer

    def stopped(self) -> None:
        self.serving = self.before = self.latest = None

    def checked(self, error: str | None) -> RegistryCheck:
        return RegistryCheck(model=self.target.name, error=error)

    def forget(self) -> None:
        """Keep no more of what was offered than may be gone back to."""
        kept = [offer for offer in (self.latest, self.serving, self.before) if offer is not None]
        self.offered = {offer.release.version: offer for offer in reversed(kept)}

    def note(self) -> Note | None:
        """What is to be remembered of it for a restart; None where there is nothing to follow."""
        if self.serving is None or self.target.path is not None:
            return None
        return Note(pointer=self.serving.pointer, release=self.serving.release, before=self.before)


def same(left: Offer, right: Offer) -> bool:
    return left.pointer.identity == right.pointer.identity and left.release.named == right.release.named
