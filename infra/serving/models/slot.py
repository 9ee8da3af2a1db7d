"""A name under which one model is served: the version that answers, and the one before it, kept for an instant way back."""

import asyncio
import time
from typing import Any, NamedTuple

from infra.serving.ipc.messages import Release
from infra.serving.models.batching import Batcher
from infra.serving.models.counters import Numbers
from infra.serving.models.execution import NOTHING, Done
from infra.serving.models.lanes import Lane
from infra.serving.models.pairs import Pair, Pairs
from infra.serving.models.recording import Recorder
from infra.serving.models.version import LoadedVersion
from infra.serving.options import ServeOptions
from infra.serving.wire.budget import Budget
from tasks.rollout.record import RolloutRecord


class Observers(NamedTuple):
    """Who looks at what comes: a rollout's lane, the comparison with the version before, the traffic record."""

    lane: Lane | None
    watch: Pairs | None
    recorded: bool


class Slot:
    """Where a model's requests go, and who looks on."""

    lane: Lane | None = None
    watch: Pairs | None = None
    recorder: Recorder | None = None
    observers: Observers | None = None
    """None as long as nobody looks at what comes; another one whenever that changes."""

    def __init__(
        self, name: str, options: ServeOptions, loop: asyncio.AbstractEventLoop, budget: Budget
    ) -> None:
        self.name = name
        self.current: LoadedVersion | None = None
        self.since: float | None = None
        self.previous: LoadedVersion | None = None
        self.record: RolloutRecord | None = None
        """Of the rollout that is obeyed here, also while nobody is routed; `lane` only while somebody may be."""
        self.why = ""  # it is not obeyed, or has nobody answered
        self.run = ""
        """Of the rollout that was compared last; its counts go on where it was paused."""
        self.counted: dict[str, dict[str, int]] = {}
        """What the last comparison of each new version came to."""
        self.numbers: dict[str, Numbers] = {}
        self.batcher = Batcher(self, loop, budget, options.max_wait, options.timeout)

    def __setattr__(self, name: str, value: Any) -> None:
        """Attributes are set now and then, and with every request it is asked who looks on."""
        super().__setattr__(name, value)
        if name in Observers._fields or name == "recorder":
            recorded = self.recorder is not None and self.recorder.share > 0
            observed = self.lane is not None or self.watch is not None or recorded
            self.observers = Observers(self.lane, self.watch, recorded) if observed else None

    def swap(self, loaded: LoadedVersion) -> LoadedVersion | None:
        """Let `loaded` answer from the next batch on; gives back the version it replaces."""
        loaded.numbers = self.numbers.setdefault(loaded.release.version, loaded.numbers)
        replaced, self.current = self.current, loaded
        self.since = time.time()
        if replaced is not None and replaced is not loaded:
            self.previous = replaced
        return replaced

    def kept(self, release: Release) -> LoadedVersion | None:
        """A version still in memory."""
        new = None if self.lane is None else self.lane.current
        versions = (self.current, self.previous, new)
        return next((loaded for loaded in versions if loaded is not None and loaded.is_of(release)), None)

    def noted(self, pair: Pair) -> None:
        """Both versions of a rollout have answered a row."""
        if self.recorder is not None:
            self.recorder.noted(pair)

    def ran(self, done: Done) -> None:
        """A batch of the champion's has been answered."""
        if self.watch is not None:
            self.watch.saw(done)
            if self.watch.over:
                self.watch = None
        self.looked(done)

    def looked(self, done: Done) -> None:
        """What there is to do with a batch of either lane: what was drawn of it is run on both versions."""
        if done.rescued_from is not None:
            done.rescued_from.numbers.rescued += 1
        if self.watch is not None or self.lane is not None:
            for place, about in [(n, r.about) for n, r in enumerate(done.requests) if r.about is not NOTHING]:
                if about.drawn is not None:
                    start = sum(request.rows.length for request in done.requests[:place])
                    about.drawn.take(done, done.requests[place], start)
        if self.recorder is not None:
            self.recorder.saw(done)
