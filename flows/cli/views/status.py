"""`slipway status`: what is up on this machine, and what `slipway up` says when it is."""

import json
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from flows.cli.views import or_json
from flows.cli.views.document import show_document
from infra.platform.status import Status

_PURPOSE = {
    "prefect": "runs: start one under Deployments, watch it, approve",
    "mlflow": "models, metrics and artifacts",
    "server": "answers with each model's champion",
}


@or_json
def show_status(status: Status, console: Console) -> None:
    """Print it on stdout: one JSON object, or a table for people."""
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
    serves = {**dict.fromkeys(status.deployed), **status.serves}
    widest = max(map(len, serves), default=0)
    for model, version in sorted(serves.items()):
        absent = "[dim]loading[/]" if model in status.loading else "[dim]no champion yet[/]"
        rollout = f", {status.rollouts[model]}" if model in status.rollouts else ""
        console.print(f"{model:<{widest}}  {f'version {version}' if version else absent}{rollout}")


def show_up(addresses: dict[str, str], as_json: bool) -> None:
    """What a person does next, with the addresses; or one JSON object of these, as soon as they answer."""
    if as_json:
        show_document(json.dumps({"up": addresses}))
        return
    for name, url in addresses.items():
        print(f"{name:<8} {url}  {_PURPOSE.get(name, '')}", flush=True)
    print("Ctrl-C ends all of it.", flush=True)


def _ago(moment: datetime) -> str:
    """3 h 5 min: long enough to know whether it is the one you started."""
    minutes = (datetime.now(UTC) - moment) // timedelta(minutes=1)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
