"""What is up on this machine, and what it serves: `slipway status` asks every part."""

import json
import urllib.request
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from infra.platform.state import Process, read_state
from tasks.system.frozen import Frozen
from tasks.system.urls import answers


class Part(Process):
    """One process of the platform, as it is now."""

    state: Literal["up", "not answering"]


class Status(Frozen):
    """The platform, as it is now; `serves` has the version of each model, None while none is loaded."""

    up: bool
    pid: int | None = None
    parts: tuple[Part, ...] = ()
    serves: dict[str, str | None] = {}
    loading: tuple[str, ...] = Field(
        (), description="Those of which a champion is on its way into the server."
    )


def platform_status(home: Path) -> Status:
    """Ask every part whether it answers."""
    state = read_state(home)
    if state is None:
        return Status(up=False)
    parts = tuple(
        Part(state="up" if answers(kept.health) else "not answering", **kept.model_dump(exclude={"health"}))
        for kept in state.services
    )
    served = next((_served(part.url) for part in parts if part.name == "server" and part.state == "up"), {})
    return Status(
        up=all(part.state == "up" for part in parts),
        pid=state.pid,
        parts=parts,
        serves={name: model["version"] for name, model in served.items()},
        loading=tuple(
            name for name, model in served.items() if not model["version"] and not model["registry_error"]
        ),
    )


def _served(url: str) -> dict[str, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            models: dict[str, dict[str, Any]] = json.load(answer)["models"]
            return models
    except OSError:
        return {}
