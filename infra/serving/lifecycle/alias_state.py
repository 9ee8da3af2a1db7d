"""What an alias has come to for the server as a whole: the release that serves, the one before, and the one on offer."""

import time
from collections.abc import Iterator

from infra.serving.ipc.messages import Event, Refusal, Release, Revert

DEATHS = 2


class AliasState:
    """The releases of one model, as workers that start later have to find them."""

    def __init__(self) -> None:
        self.serving: Release | None = None
        self.before: Release | None = None
        self.offered: Release | None = None
        self.since = 0.0
        self.deaths = 0

    def offer(self, release: Release) -> None:
        self.offered = release

    def wanted(self) -> Iterator[Release]:
        """What a worker that starts now has to load, in order: what serves, then what is on offer."""
        if self.serving is not None:
            yield self.serving
        if self.offered is not None and self.offered != self.serving:
            yield self.offered

    def receive(self, message: Event) -> None:
        """A worker has taken, refused or reverted a version."""
        if isinstance(message, Revert):
            self._go_back(message.back_to)
        elif self.offered is None or self.offered.version != message.version:
            return
        elif isinstance(message, Refusal):
            self.offered = self.serving
        elif self.offered != self.serving:
            self.before, self.serving = self.serving, self.offered
            self.since, self.deaths = time.monotonic(), 0

    def _go_back(self, version: str) -> None:
        if self.before is not None and self.before.version == version:
            self.serving, self.before, self.offered = self.before, None, self.before

    def worker_died(self, watch: float) -> Refusal | Revert | None:
        """What to tell everybody when a worker has died by itself: who is to blame, if anybody is."""
        offered, serving = self.offered, self.serving
        if offered is not None and serving is not None and offered != serving:
            self.offered = serving
            return Refusal(**offered.named, reason="a worker died while loading it")
        self.deaths += 1
        if serving is None or self.before is None or not self._dies_of_it(watch):
            return None
        before = self.before.version
        self._go_back(before)
        reason = f"workers died {self.deaths} times while serving it"
        return Revert(**serving.named, back_to=before, reason=reason)

    def _dies_of_it(self, watch: float) -> bool:
        return self.deaths >= DEATHS and time.monotonic() - self.since <= watch
