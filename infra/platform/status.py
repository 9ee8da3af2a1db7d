"""What is up on this machine, and what it serves: `slipway status` asks every part."""

import base64
import json
import os
import urllib.request
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from infra.platform.state import Process, read_state
from tasks.registry.status_tags import StatusTag, Subject
from tasks.system.frozen import Frozen
from tasks.system.urls import answers

DEPLOYED_TAG = "bundle"
"""On Prefect's deployments of `slipway deploy`, and on none of infra/prefect.yaml."""


class Part(Process):
    """One process of the platform, as it is now."""

    state: Literal["up", "not answering"]


class Status(Frozen):
    """The platform, as it is now; `serves` has the version of each model, None while none is loaded."""

    up: bool
    pid: int | None = None
    parts: tuple[Part, ...] = ()
    serves: dict[str, str | None] = {}
    deployed: tuple[str, ...] = Field((), description="Models that deployments of one's own retrain.")
    rollouts: dict[str, str] = Field({}, description="Of each model that has one open, in words.")
    statuses: dict[str, dict[Subject, StatusTag]] = Field(
        {}, description="Of each model, what flows said last, as its page has it."
    )
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
    urls = {part.name: part.url for part in parts if part.state == "up"}
    served = _served(urls["server"]) if "server" in urls else {}
    return Status(
        up=all(part.state == "up" for part in parts),
        pid=state.pid,
        parts=parts,
        serves={name: model["version"] for name, model in served.items()},
        deployed=_deployed(urls["prefect"]) if "prefect" in urls else (),
        loading=tuple(
            name for name, model in served.items() if not model["version"] and not model["registry_error"]
        ),
    )


def _deployed(url: str) -> tuple[str, ...]:
    """From Prefect, by HTTP: importing its client takes longer than all the rest of the command."""
    body = json.dumps({"deployments": {"tags": {"all_": [DEPLOYED_TAG]}}}).encode()
    headers = {"Content-Type": "application/json"}
    if account := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
    request = urllib.request.Request(f"{url}/api/deployments/filter", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            watched = [made["parameters"].get("model") for made in json.load(answer)]
    except OSError:
        return ()
    return tuple(sorted({model for model in watched if model}))


def _served(url: str) -> dict[str, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            models: dict[str, dict[str, Any]] = json.load(answer)["models"]
            return models
    except OSError:
        return {}
