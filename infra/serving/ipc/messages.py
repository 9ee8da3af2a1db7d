"""What the server's processes tell each other, one JSON line a message."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from tasks.system.frozen import Frozen

MAX_REASON = 1000


def shortened(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


Reason = Annotated[str, AfterValidator(shortened)]
"""Why something happened: it may quote a model's own words, and a message has to fit the line."""


class Release(Frozen):
    """One version of a model, verified and in the cache; `digest` is the SHA-256 of model.onnx, `decided` the gate's word."""

    kind: Literal["release"] = "release"
    model: str
    shadow: bool = False
    source: str
    version: str
    digest: str
    folder: Path
    evidence: Literal["verified", "unsigned", "local"]
    decided: str | None = None


class Refusal(Frozen):
    """A version that will not be served, and why."""

    kind: Literal["refusal"] = "refusal"
    model: str
    shadow: bool = False
    source: str
    version: str
    digest: str | None = None
    reason: Reason
    at: float


class Looked(Frozen):
    """The follower has looked at the registry: how fresh what is served is, or why it could not look."""

    kind: Literal["looked"] = "looked"
    model: str
    shadow: bool = False
    at: float
    error: str | None = None


class Swap(Frozen):
    """A worker has put a version in place (first load, swap, or going back)."""

    kind: Literal["swap"] = "swap"
    model: str
    shadow: bool = False
    version: str
    digest: str
    replaced: str | None = None
    seconds: float
    at: float
    reason: str = "alias"


class Revert(Frozen):
    """A worker went back to the version before, because the new one did worse."""

    kind: Literal["revert"] = "revert"
    model: str
    version: str
    digest: str
    back_to: str
    reason: Reason
    at: float


class Nudge(Frozen):
    """Look at the registry now."""

    kind: Literal["nudge"] = "nudge"


class Up(Frozen):
    """A worker accepts connections and holds every model it was asked to."""

    kind: Literal["up"] = "up"
    pid: int


Message = Annotated[Release | Refusal | Looked | Swap | Revert | Nudge | Up, Field(discriminator="kind")]

_message: TypeAdapter[Message] = TypeAdapter(Message)


def decode(line: bytes) -> Message:
    return _message.validate_json(line)


def encode(message: Message) -> bytes:
    return message.model_dump_json().encode() + b"\n"
