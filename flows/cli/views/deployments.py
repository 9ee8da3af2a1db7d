"""`slipway deploy`, `deployments` and `withdraw` as people read them."""

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from flows.cli.views import or_json
from flows.orchestration.deployment_list import OwnDeployments
from flows.orchestration.own_deployments import Deployed
from tasks.bundles.bundle import Bundle
from tasks.system.frozen import Frozen

_DIGITS = 12

_PIPED = 1000
"""Columns where nobody looks: in full."""


class Announced(Frozen):
    """What `slipway deploy` came to. `changes`: between the bundle that was deployed before and this one, and of the deployment."""

    name: str
    model: str
    bundle: str
    code: str
    status: str
    changes: tuple[str, ...]
    schedules: tuple[str, ...]
    address: str


class Withdrawn(Frozen):
    """What `slipway withdraw` came to; `champion` serves on."""

    name: str
    model: str
    champion: int | None


def announce(bundle: Bundle, made: Deployed) -> Announced:
    """With what has changed in the code, where the bundle before is still to be had."""
    changes = [change for change in made.changes if change != "another bundle"]
    if made.before not in (None, bundle.workload):
        changes = [*_code_changes(str(made.before), bundle), *changes]
    status = "deployed" if made.created else "updated" if made.changes else "unchanged"
    return Announced(
        name=made.name, model=bundle.name, bundle=bundle.digest, code=bundle.state, status=status,
        changes=tuple(changes), schedules=made.schedules, address=made.address,
    )  # fmt: skip


def show_deployed(bundle: Bundle, made: Deployed, as_json: bool) -> None:
    """What became of it, what is otherwise, and where to go from here."""
    _show_announced(announce(bundle, made), as_json)


def _code_changes(before: str, bundle: Bundle) -> tuple[str, ...]:
    from tasks.bundles.bundle import changes
    from tasks.bundles.kept import bundle_of
    from tasks.errors import UserError

    try:
        return changes(bundle_of(before), bundle)
    except UserError as error:
        return (f"another bundle than before, which cannot be compared: {error}",)


@or_json
def _show_announced(said: Announced, console: Console) -> None:
    what = {
        "deployed": f"{said.name} is deployed",
        "updated": f"{said.name} is updated",
        "unchanged": f"{said.name}: nothing has changed",
    }
    console.print(f"{what[said.status]}: bundle {said.bundle[:_DIGITS]}, {said.code}.")
    for change in said.changes:
        console.print(f"  {change}")
    console.print(f"Runs {'; '.join(said.schedules) or 'when somebody starts it'}; its page: {said.address}")


@or_json
def show_deployments(listed: OwnDeployments, console: Console) -> None:
    """A table, or what makes the first row of one."""
    if not listed.deployments:
        console.print("Nothing is deployed. Deploy a workload of yours with: slipway deploy FILE")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("name", "model", "bundle", "schedule", "next run", "champion"):
        table.add_column(column, no_wrap=True)
    for made in listed.deployments:
        table.add_row(
            made.name,
            made.model,
            made.bundle[:_DIGITS],
            "; ".join(made.schedules) or "–",
            _at(made.next_run),
            "–" if made.champion is None else f"version {made.champion}",
        )
    console.print(table, width=None if console.is_terminal else _PIPED)
    for made in listed.deployments:
        if (last := made.last_run) is not None:
            console.print(f"{made.name}: last run {_at(last.at)}, {last.came_of_it or last.state}")


@or_json
def show_withdrawn(withdrawn: Withdrawn, console: Console) -> None:
    """What ends, and what does not."""
    serves = (
        "it has no champion, so nothing serves"
        if withdrawn.champion is None
        else f"version {withdrawn.champion} of {withdrawn.model} serves on as its champion"
    )
    console.print(f"{withdrawn.name} is withdrawn: nothing retrains or watches it any more; {serves}.")


def _at(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
