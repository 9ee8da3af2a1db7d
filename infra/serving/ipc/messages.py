"""What the server's processes tell each other, one JSON line a message."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from infra.serving.options import Target
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.registry.status_tags import StatusTag
from tasks.rollout.counts import Counts
from tasks.rollout.record import RolloutRecord
from tasks.rollout.reported import PodReport
from tasks.system.frozen import Frozen
from tasks.system.sentences import shortened

Reason = Annotated[str, AfterValidator(shortened)]
"""Why something happened: it may quote a model's own words, and a message has to fit the line."""


class AboutModel(Frozen):
    """What concerns a model."""

    model: str


class AboutVersion(AboutModel):
    """What concerns one version; `digest` is the SHA-256 of its model.onnx."""

    version: str
    digest: str | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The version, as whatever else is said of it names it."""
        return self.model_dump(include=set(AboutVersion.model_fields))


class Event(AboutVersion):
    """Something that happened to a version."""

    kind: str
    at: float = Field(default_factory=time.time)


class Release(AboutVersion):
    """One version of a model, verified and in the cache; `decided` is the gate's word, `score` what was proved, in words.

    `engine`: what it was proved in, `promise` how many times as fast as ONNX Runtime on these bytes, by batch size,
    `instead` why it is not run there.
    `back_because`: it served before, and does so again because of what happened to the version after it.
    """

    kind: Literal["release"] = "release"
    digest: str
    folder: Path
    evidence: Literal["verified", "unsigned", "local"]
    decided: str | None = None
    score: str | None = None
    engine: Engine = ONNX_RUNTIME
    promise: dict[int, float] = {}
    instead: str | None = None
    back_because: Reason | None = None


class Refusal(Event):
    """A version that will not be served, and why.

    `stops`: it serves no longer either, and nothing does in its place; `passing`: it may be had another time.
    """

    kind: Literal["refusal"] = "refusal"
    reason: Reason
    stops: bool = False
    passing: bool = False


class RegistryCheck(AboutModel):
    """The follower has asked the registry: how fresh what is served is, or why there was no answer."""

    kind: Literal["registry_check"] = "registry_check"
    at: float = Field(default_factory=time.time)
    error: str | None = None


class Swap(Event):
    """A worker has put a version in place (first load, swap, or going back)."""

    kind: Literal["swap"] = "swap"
    digest: str
    replaced: str | None = None
    seconds: float


class Revert(Event):
    """A worker went back to the version before, because the new one did worse."""

    kind: Literal["revert"] = "revert"
    digest: str
    back_to: str
    reason: Reason
    rollout: str = ""
    """Its MLflow run, where the version answered a share of the keys at most; `counts`: what the worker had seen of it."""
    counts: Counts | None = None


class Rollout(AboutModel):
    """How a rollout stands. Without a `release` everybody has the champion, for there is none, it is over or paused, or for `why`."""

    kind: Literal["rollout"] = "rollout"
    record: RolloutRecord | None
    release: Release | None = None
    why: Reason = ""


class Tally(AboutModel):
    """All that one worker has counted of a rollout since it started; `process` is no other worker's."""

    kind: Literal["tally"] = "tally"
    run: str
    process: str
    report: PodReport


class Told(AboutModel):
    """What flows say of a model, as signed tags of the registry have it."""

    kind: Literal["told"] = "told"
    statuses: tuple[StatusTag, ...]


EVERY = "*"
"""In place of a model's name: what concerns the registry's models as a whole."""


class Found(Frozen):
    """Models that are followed from now on without having been named; the first look may find none."""

    kind: Literal["found"] = "found"
    targets: tuple[Target, ...]


class Nudge(Frozen):
    """Look at the registry now."""

    kind: Literal["nudge"] = "nudge"


class Up(Frozen):
    """A worker accepts connections and holds every model it was asked to."""

    kind: Literal["up"] = "up"


class Beat(Frozen):
    """A process's event loop turns, and what runs beside it gets done."""

    kind: Literal["beat"] = "beat"


BEAT_SECONDS = 0.5
"""Between two of them, from the moment that a process has its work."""


Message = Annotated[
    Release | Refusal | RegistryCheck | Swap | Revert | Rollout | Tally | Told | Found | Nudge | Up | Beat,
    Field(discriminator="kind"),
]

ANY: TypeAdapter[Message] = TypeAdapter(Message)
