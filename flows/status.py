"""`slipway status`: what is up on this machine, and what `slipway up` says when it is."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console
from rich.table import Table

from infra.keeper import answers
from infra.state import read_state
from tasks.records import Record

_PURPOSE = {
    "prefect": "runs: start one under Deployments, watch it, approve",
    "mlflow": "models, metrics and artifacts",
    "server": "answers with each model's champion",
}


class Part(Record):
    """One process of the platform, as it is now."""

    name: str
    state: Literal["up", "not answering"]
    pid: int
    since: datetime
    restarts: int
    url: str


class Status(Record):
    """The platform, as it is now; `serves` has the version of each model, None while none is loaded."""

    up: bool
    pid: int | None = None
    parts: tuple[Part, ...] = ()
    serves: dict[str, str | None] = {}
    loading: tuple[str, ...] = Field(
        (), description="Those of which a champion is on its way into the server."
    )


def look(home: Path) -> Status:
    """Ask every part whether it answers."""
    state = read_state(home)
    if state is None:
        return Status(up=False)
    parts = tuple(
        Part(state="up" if answers(one.health) else "not answering", **one.model_dump(exclude={"health"}))
        for one in state.services
    )
    served = next((_served(part.url) for part in parts if part.name == "server" and part.state == "up"), {})
    return Status(
        up=all(part.state == "up" for part in parts),
        pid=state.pid,
        parts=parts,
        serves={name: one["version"] for name, one in served.items()},
        loading=tuple(n for n, one in served.items() if not one["version"] and not one["registry_error"]),
    )


def show_status(status: Status, *, as_json: bool) -> None:
    """Print it on stdout: one JSON object, or a table for people."""
    if as_json:
        print(status.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    if status.pid is None:
        console.print("Nothing is up. Start it with: slipway up")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "", "address", "pid", "since", "restarts"):
        table.add_column(name, no_wrap=True)
    for part in status.parts:
        colour = "green" if part.state == "up" else "red"
        table.add_row(
            part.name,
            f"[{colour}]{part.state}[/]",
            part.url,
            str(part.pid),
            _ago(part.since),
            str(part.restarts or "–"),
        )
    console.print(table)
    widest = max(map(len, status.serves), default=0)
    for model, version in status.serves.items():
        absent = "[dim]loading[/]" if model in status.loading else "[dim]no champion yet[/]"
        console.print(f"{model:<{widest}}  {f'version {version}' if version else absent}")


def show_up(addresses: dict[str, str]) -> None:
    """What a person does next, with the addresses."""
    for name, url in addresses.items():
        print(f"{name:<8} {url}  {_PURPOSE.get(name, '')}", flush=True)
    print("Ctrl-C ends all of it.", flush=True)


def _served(url: str) -> dict[str, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            found: dict[str, dict[str, Any]] = json.load(answer)["models"]
            return found
    except (urllib.error.URLError, OSError):
        return {}


def _ago(moment: datetime) -> str:
    """3 h 5 min: long enough to know whether it is the one you started."""
    minutes = (datetime.now(UTC) - moment) // timedelta(minutes=1)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
