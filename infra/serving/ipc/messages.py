"""What the server's processes tell each other, one JSON line a message."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from tasks.system.frozen import Frozen
from tasks.system.sentences import shortened

Reason = Annotated[str, AfterValidator(shortened)]
"""Why something happened: it may quote a model's own words, and a message has to fit the line."""


class Release(Frozen):
    """One version of a model, verified and in the cache; `digest` is the SHA-256 of model.onnx, `decided` the gate's word."""

    kind: Literal["release"] = "release"
    model: str
    shadow: bool = False
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
    version: str
    digest: str | None = None
    reason: Reason
    at: float


class RegistryCheck(Frozen):
    """The follower has asked the registry: how fresh what is served is, or why there was no answer."""

    kind: Literal["registry_check"] = "registry_check"
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


Message = Annotated[
    Release | Refusal | RegistryCheck | Swap | Revert | Nudge | Up, Field(discriminator="kind")
]

_message: TypeAdapter[Message] = TypeAdapter(Message)


def decode(line: bytes) -> Message:
    return _message.validate_json(line)


def encode(message: Message) -> bytes:
    return message.model_dump_json().encode() + b"\n"
