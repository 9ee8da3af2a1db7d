"""`slipway rollout`: where a rollout stands."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views import or_json
from tasks.promotion.rollout_status import Standing
from tasks.reporting.rollout_progress import guard_rows

_COLOURS = {"rolling": "green", "paused": "yellow", "ended": "dim"}


@or_json
def show_standing(standing: Standing, console: Console) -> None:
    """The decision first, then each guard with what is still to go."""
    decision, colour = standing.decision, _COLOURS[standing.status]
    where = f"at {100 * standing.weight:g}% of the keys" if standing.weight else "in shadow"
    console.print(
        f"[bold]{standing.model}[/bold]: version {standing.new} beside version {standing.old}, "
        f"[bold {colour}]{standing.status}[/] {where}, since {standing.since:%Y-%m-%d %H:%M} UTC"
    )
    if standing.made is not None:
        console.print(
            f"  [bold]{standing.made.action}[/bold] now, entry {standing.made.sequence}: {escape(standing.made.why)}"
        )
    elif standing.status == "ended":
        last = standing.entries[-1]
        console.print(f"  {last.action} by {escape(last.person)}: {escape(last.why)}")
    else:
        console.print(f"  {decision.action}: {escape(decision.why)}")
    if standing.waits is not None:
        console.print(f"  {_waits(standing)}")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    rows = guard_rows(standing.policy, standing.counts, standing.labels, decision.answers, decision.to_go)
    for name in ("guard", "harmful", "within the margin", "still to go"):  # what was seen is in the reasons
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(escape(row[str(column.header)]) for column in table.columns))
    if rows:
        console.print(table)
    console.print(f"  {len(standing.pods)} server processes have reported {standing.counts.pairs:,} pairs")


def _waits(standing: Standing) -> str:
    if standing.status != "ended":
        return f"version {standing.waits} waits as challenger, and begins once this has ended"
    return (
        f"version {standing.waits} waited for that, and begins with the next look if it passes its gate against what serves now; "
        f'where the gate is not sure: slipway promote {standing.model} {standing.waits} --reason "…"'
    )
