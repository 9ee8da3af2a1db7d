"""Where a model stands for the server as a whole: the release that serves, the one before, and the one on offer."""

import time
from collections.abc import Iterator

from infra.serving.ipc.messages import Refusal, Release, Revert, Swap

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

    def heard(self, message: Swap | Refusal | Revert) -> None:
        """A worker has taken, refused or reverted a version."""
        if isinstance(message, Swap):
            if (
                self.offered is not None
                and self.offered.version == message.version
                and self.offered != self.serving
            ):
                self.before, self.serving = self.serving, self.offered
                self.since, self.deaths = time.monotonic(), 0
        elif isinstance(message, Refusal):
            if self.offered is not None and self.offered.version == message.version:
                self.offered = self.serving
        else:
            self._go_back(message.back_to)

    def _go_back(self, version: str) -> None:
        if self.before is not None and self.before.version == version:
            self.serving, self.before, self.offered = self.before, None, self.before

    def worker_died(self, watch: float) -> Iterator[Refusal | Revert]:
        """What to tell everybody when a worker has died by itself."""
        now, offered, serving = time.time(), self.offered, self.serving
        if offered is not None and serving is not None and offered != serving:
            self.offered = serving
            yield Refusal(
                model=offered.model,
                shadow=offered.shadow,
                source=offered.source,
                version=offered.version,
                digest=offered.digest,
                reason="a worker died while loading it",
                at=now,
            )
            return
        self.deaths += 1
        if (
            serving is None
            or self.before is None
            or self.deaths < DEATHS
            or time.monotonic() - self.since > watch
        ):
            return
        before = self.before
        self._go_back(before.version)
        yield Revert(
            model=serving.model,
            version=serving.version,
            digest=serving.digest,
            back_to=before.version,
            reason=f"workers died {self.deaths} times while serving it",
            at=now,
        )
