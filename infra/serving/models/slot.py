"""A name under which one model is served: the version that answers, and the one before it, kept for an instant way back."""

import asyncio
import time

from infra.serving.ipc.messages import Release
from infra.serving.models.batching import Batcher
from infra.serving.models.counters import Numbers
from infra.serving.models.execution import Done
from infra.serving.models.lanes import Lane
from infra.serving.models.pairs import Pair, Pairs
from infra.serving.models.recording import Recorder
from infra.serving.models.version import LoadedVersion
from infra.serving.options import ServeOptions
from infra.serving.wire.budget import Budget
from tasks.rollout.record import RolloutRecord


class Slot:
    """Where a model's requests go, and who looks on."""

    def __init__(
        self, name: str, options: ServeOptions, loop: asyncio.AbstractEventLoop, budget: Budget
    ) -> None:
        self.name = name
        self.current: LoadedVersion | None = None
        self.since: float | None = None
        self.previous: LoadedVersion | None = None
        self.watch: Pairs | None = None
        self.record: RolloutRecord | None = None
        """Of the rollout that is obeyed here, also while nobody is routed; `lane` only while somebody may be."""
        self.why = ""  # it is not obeyed, or has nobody answered
        self.lane: Lane | None = None
        self.run = ""
        """Of the rollout that was compared last; its counts go on where it was paused."""
        self.counted: dict[str, dict[str, int]] = {}
        """What the last comparison of each new version came to."""
        self.recorder: Recorder | None = None
        self.numbers: dict[str, Numbers] = {}
        self.batcher = Batcher(self, loop, budget, options.max_wait, options.timeout)

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

    @property
    def observed(self) -> bool:
        """Whether anything looks at what comes."""
        return self.lane is not None or self.watch is not None

    def noted(self, pair: Pair) -> None:
        """Both versions of a rollout have answered a row."""
        if self.recorder is not None:
            self.recorder.noted(pair)

    def draw(self) -> Pairs | None:
        """What is to look at the request that has just come."""
        if self.lane is not None and self.lane.pairs.draw():
            return self.lane.pairs
        return self.watch if self.watch is not None and self.watch.draw() else None

    def ran(self, done: Done) -> None:
        """A batch of the champion's has been answered."""
        if self.watch is not None:
            self.watch.saw(done)
        self.looked(done)

    def looked(self, done: Done) -> None:
        """What there is to do with a batch of either lane: what was drawn of it is run on both versions."""
        if done.rescued_from is not None:
            done.rescued_from.numbers.rescued += 1
        if self.watch is not None or self.lane is not None:
            start = 0
            for request in done.requests:
                if request.drawn is not None:
                    request.drawn.take(done, request, start)
                start += request.rows.length
        if self.recorder is not None:
            self.recorder.saw(done)
