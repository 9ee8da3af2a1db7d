"""What the commands about keys show."""

import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views import or_json
from tasks.promotion.keys import KeyChange, TrustedKeys

_SHOWN = 12
"""Digits of a fingerprint."""


@or_json
def show_keys(trusted: TrustedKeys, console: Console) -> None:
    """A line a key, oldest first."""
    table = Table(box=None, pad_edge=False)
    for name in ("key", "standing", "from", "until", "signed", "why"):
        table.add_column(name, overflow="fold")
    for key in trusted.keys:
        table.add_row(
            key.fingerprint[:_SHOWN],
            f"{key.standing}, signs here" if key.signs_here else key.standing,
            _day(key.since) or "the beginning",
            _day(key.revoked or key.until),
            "" if key.holds is None else f"{key.holds:,} that count",
            escape(key.why),
        )
    console.print(table)
    console.print(f"\nSLSA build level {trusted.level}: {escape(trusted.why)}")
    for problem in trusted.problems:
        console.print(f"[red]![/red] {escape(problem)}")


@or_json
def show_change(change: KeyChange, console: Console) -> None:
    """What ended, what begins, and what counts of it."""
    ended, in_force = change.ended[:_SHOWN], change.in_force[:_SHOWN]
    if change.action == "rotate":
        console.print(
            f"[bold]{in_force}[/bold] signs from now on, after {ended}, of which {change.holds:,} signatures count"
        )
    else:
        console.print(
            f"[bold]{ended}[/bold] is revoked from {_day(change.since)} on, and {change.holds:,} of its signatures count"
        )
    console.print(f"  by {escape(change.who)}: {escape(change.why)}")
    for lost in change.lost:
        console.print(f"  counts no longer: {escape(lost)}")
    if change.next:
        console.print(f"  {escape(change.next)}")
    console.print("\nTry next:\n  slipway keys")


def _day(moment: datetime.datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M}"
