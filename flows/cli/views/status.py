"""`slipway status`: what is up on this machine, and what `slipway up` says when it is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from flows.cli.views import or_json
from flows.cli.views.document import show_document
from infra.platform.status import Status
from tasks.registry.status_tags import Statuses, Subject

_PURPOSE = {
    "prefect": "runs: start one under Deployments, watch it, approve",
    "mlflow": "models, metrics and artifacts",
    "server": "every model on one page; answers with each one's champion",
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
    serves = {**dict.fromkeys((*status.deployed, *status.statuses)), **status.serves}
    widest = max(map(len, serves), default=0)
    for model, version in sorted(serves.items()):
        absent = "[dim]loading[/]" if model in status.loading else "[dim]no champion yet[/]"
        rollout = f", {status.rollouts[model]}" if model in status.rollouts else ""
        console.print(f"{model:<{widest}}  {f'version {version}' if version else absent}{rollout}")
        for line in _said(status.statuses.get(model, {})):
            console.print(f"{'':<{widest}}  {line}", markup=False)


def _said(statuses: Statuses) -> Iterator[str]:
    """What the model's page has, a line each; an open question with the address that it is answered at."""
    names: dict[Subject, str] = {"champion": "champion", "run": "last run", "traffic": "drift"}
    for subject, name in names.items():
        if tag := statuses.get(subject):
            where = tag.pages.get("prefect", "") if tag.tone == "bad" else ""
            yield f"{name}: {tag.said} ({_ago(tag.at)} ago) {where}".rstrip()
    if tag := statuses.get("question"):
        if tag.open(datetime.now(UTC)):
            yield f"asked {_ago(tag.at)} ago: {tag.said} {tag.pages.get('prefect', '')}".rstrip()
        else:
            yield f"last question: {tag.said} ({_ago(tag.at)} ago)"


def first_step(addresses: dict[str, str], statuses: dict[str, Statuses]) -> str:
    """What to do first: answer what is asked, or train a model, or look at those that there are."""
    tags = [
        tag for said in statuses.values() if (tag := said.get("question")) and tag.open(datetime.now(UTC))
    ]
    if tags:
        return f"First answer: {tags[0].said}\n  {tags[0].pages.get('prefect') or addresses['server']}"
    if statuses:
        return f"First look at {addresses['server']}: what serves, since when, how good it is, and what waits for you."
    return (
        f"First train a model: at {addresses['prefect']}/deployments pick retrain / digits and press Run, or type "
        f"`slipway run digits` in another terminal. It then stands at {addresses['server']}"
    )


def show_up(addresses: dict[str, str], statuses: dict[str, Statuses], as_json: bool) -> None:
    """What a person does next, with the addresses; or one JSON object of these, as soon as they answer."""
    if as_json:
        show_document(json.dumps({"up": addresses}))
        return
    print(f"{first_step(addresses, statuses)}\n", flush=True)
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
