"""What the commands about labels show."""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views import or_json
from tasks.system.sentences import shortened, some
from tasks.traffic.label_file import Added
from tasks.traffic.label_queue import Wanted
from tasks.traffic.score import Score, Scored

_MOST_ROWS = 20

_MOST_ASKED = 60


@or_json
def show_added(added: Added, console: Console) -> None:
    """What was taken, and what of it is of no row."""
    console.print(f"[bold]{added.model}[/bold]: {added.labels} labels are kept")
    if added.unknown:
        console.print(
            f"  • {added.unknown} are of rows that are not on record: only recorded requests are scored"
        )
    if added.empty:
        console.print(f"  • {added.empty} rows have no label yet")
    console.print(f"\nTry next:\n  slipway score {added.model} --by version")


@or_json
def show_wanted(wanted: Wanted, console: Console) -> None:
    """The first rows, what was asked and what each version said."""
    late = f", {wanted.late} more would come too late" if wanted.late else ""
    console.print(
        f"[bold]{wanted.model}[/bold]: {len(wanted.rows)} rows that versions answer differently want a label{late}; {wanted.labelled} have one"
    )
    if not wanted.rows:
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("id", "row", "when (UTC)", "old", "new", "asked"):
        table.add_column(name, no_wrap=True)
    for row in wanted.rows[:_MOST_ROWS]:
        told = (f"v{row.old_version} {row.old}", f"v{row.new_version} {row.new}")
        asked = shortened(json.dumps(row.asked, ensure_ascii=False), _MOST_ASKED)
        table.add_row(
            escape(row.id), str(row.row), f"{row.time:%Y-%m-%d %H:%M}", *map(escape, (*told, asked))
        )
    console.print(table)
    console.print(f"\nTry next:\n  slipway labels wanted {wanted.model} --out wanted.csv")


@or_json
def show_score(score: Score, console: Console) -> None:
    """Each group with how many of its rows have a label, and what of the labels could not be used."""
    console.print(f"[bold]{score.model}[/bold]: {score.score_name} of recorded answers, by their labels")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in (score.by or "", "rows", "labelled", "coverage", score.score_name, f"{score.level:.0%} sure"):
        table.add_column(name, no_wrap=True, justify="left" if name == (score.by or "") else "right")
    for group in (*score.groups, score.overall):
        table.add_row(*_cells(group))
    console.print(table)
    for count, what in (
        (score.unknown, "labels are of rows that are not on record"),
        (score.conflicts, "rows have two labels of the same moment that differ: neither counts"),
        (score.strange, "labels are no class of the version that answered"),
        (score.repeated, "ids came again with other requests: the first has the label"),
        (score.left_out, "rows of versions that the registry does not have are left out"),
    ):
        if count:
            console.print(f"  • {count} {what}")
    if score.ahead:
        console.print(f"  • held back, of a clock far ahead of ours: {escape(some(score.ahead, 3))}")


def _cells(group: Scored) -> list[str]:
    sure = "–" if group.low is None else f"{group.low:.4f} to {group.high:.4f}"
    value = "–" if group.score is None else f"{group.score:.4f}"
    return [escape(group.group), str(group.rows), str(group.labelled), f"{group.coverage:.1%}", value, sure]
