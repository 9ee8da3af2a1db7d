"""The base of every record and every knob."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Unchangeable, and strict about names: a misspelt field is an error and not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
