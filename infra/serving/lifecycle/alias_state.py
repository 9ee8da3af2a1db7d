"""What an alias has come to for the server as a whole: the release that serves, the one before, and the one on offer."""

import time
from collections.abc import Iterator

from infra.serving.ipc.messages import Event, Refusal, Release, Revert, Swap

DEATHS = 2

STUBBORN = 3
"""So often a worker may refuse what its siblings serve."""


class AliasState:
    """The releases of one model, as workers that start later have to find them; and which worker holds which."""

    def __init__(self) -> None:
        self.serving: Release | None = None
        self.before: Release | None = None
        self.offered: Release | None = None
        self.since = 0.0
        self.deaths = 0
        self.held: dict[str, str] = {}
        self.refusals: dict[str, int] = {}
        self.told: dict[str, tuple[float, float]] = {}

    def offer(self, release: Release) -> bool:
        """Whether it serves already, so that no worker will say that it does."""
        self.offered = release
        self.refusals.clear()
        return self.serving is not None and self.serving.named == release.named

    def wanted(self) -> Iterator[Release]:
        """What a worker that starts now has to load, in order: what serves, then what is on offer."""
        if self.serving is not None:
            yield self.serving
        if self.offered is not None and self._pending:
            yield self.offered

    @property
    def _pending(self) -> bool:
        """Whether something is on offer that does not serve yet."""
        return self.offered is not None and (self.serving is None or self.offered.named != self.serving.named)

    def receive(self, message: Event, worker: str = "", workers: int = 1) -> None:
        """One of so many workers has taken, refused or reverted a version."""
        if isinstance(message, Revert):
            self.held[worker] = message.back_to
            if self.serving is None or self.serving.version == message.back_to:
                return  # what it went back from answered a share of the keys at most, or is gone already
            self._go_back(message.back_to, message.reason)
            return
        if isinstance(message, Swap):
            self.held[worker] = message.version
        if self.offered is None or self.offered.version != message.version:
            return
        if isinstance(message, Refusal):
            self.refusals[worker] = self.refusals.get(worker, 0) + 1
            if self._pending and len(self.refusals) >= workers:
                self.offered = self.serving
        elif self._pending:
            self.before, self.serving = self.serving, self.offered
            self.since, self.deaths = time.monotonic(), 0

    def started(self, worker: str) -> None:
        """A worker that has just started holds nothing."""
        for known in (self.held, self.refusals, self.told):
            known.pop(worker, None)

    def missing(self, worker: str) -> Release | None:
        """What to tell a worker again that is not where its siblings are: soon at first, then less and less often."""
        if self.serving is None or self.held.get(worker) == self.serving.version:
            self.told.pop(worker, None)
            return None
        now = time.monotonic()
        at, pause = self.told.setdefault(worker, (now + 1, 1.0))
        if now < at:
            return None
        self.told[worker] = now + 2 * pause, min(60.0, 2 * pause)
        return self.serving

    def stubborn(self, worker: str) -> bool:
        """Whether a worker cannot take what its siblings serve: one that starts anew may."""
        return not self._pending and self.refusals.get(worker, 0) >= STUBBORN

    def stop(self, version: str) -> None:
        """It may not serve, and nothing else may."""
        if self.serving is None or self.serving.version == version:
            self.serving = self.before = self.offered = None

    def _go_back(self, version: str, reason: str) -> None:
        for release in (self.before, self.offered):
            if release is not None and release.version == version:
                self.serving = release.model_copy(update={"back_because": reason})
                self.before, self.offered = None, self.serving
                return

    def worker_died(self, watch: float) -> Refusal | Revert | None:
        """What to tell everybody when a worker has died by itself: who is to blame, if anybody is."""
        offered, serving = self.offered, self.serving
        if offered is not None and serving is not None and self._pending:
            self.offered = serving
            return Refusal(**offered.named, reason="a worker died while loading it")
        self.deaths += 1
        if serving is None or self.before is None or not self._dies_of_it(watch):
            return None
        before = self.before.version
        reason = f"workers died {self.deaths} times while serving it"
        self._go_back(before, reason)
        return Revert(**serving.named, back_to=before, reason=reason)

    def _dies_of_it(self, watch: float) -> bool:
        return self.deaths >= DEATHS and time.monotonic() - self.since <= watch
