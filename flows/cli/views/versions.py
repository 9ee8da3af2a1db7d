import textwrap
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views.outcome import _ROOM, _number
from tasks.monitoring.monitor import Watched
from tasks.promotion.history import History
from tasks.promotion.ledger import LedgerEntry
from tasks.promotion.verification import Verification

_MOST_COLUMNS = 15


def show_entry(entry: LedgerEntry, *, as_json: bool) -> None:
    """Say what was decided, and how to look at it."""
    if as_json:
        print(entry.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    before = f"version {entry.from_version}" if entry.from_version is not None else "nothing"
    console.print(f"[bold]{entry.model}[/bold]: version {entry.to_version} is the champion, after {before}")
    console.print(f"  {entry.action} by {escape(entry.who)}: {escape(entry.why)}")
    console.print(f"\nTry next:\n  slipway history {entry.model}")


def show_history(history: History, *, as_json: bool) -> None:
    """The ledger as a table, newest last, and what is wrong with it."""
    if as_json:
        print(history.model_dump_json())
        return
    console = Console(highlight=False)
    if history.at:
        served = ", ".join(f"version {e.to_version}" for e in history.entries) or "nothing"
        console.print(f"[bold]{history.model}[/bold] on {history.at}: {served} served")
    else:
        names = {"champion": history.champion, "challenger": history.challenger, "previous": history.previous}
        known = ", ".join(
            f"{name} is version {number}" for name, number in names.items() if number is not None
        )
        console.print(f"[bold]{history.model}[/bold]: {known or 'no version serves'}")
    for line in ledger_lines(history.entries, console.width if console.is_terminal else None):
        console.print(line, soft_wrap=True)
    for problem in history.problems:
        console.print(f"[red]! {escape(problem)}[/red]")


def ledger_lines(entries: tuple[LedgerEntry, ...], width: int | None) -> Iterator[str]:
    """A line an entry, its reason behind it or, where `width` columns are too few, below; None: in full, for a pipe."""
    rows = [["when (UTC)", "what", "from", "to", "who", "verdict"]]
    for one in entries:
        versions = ["–" if v is None else str(v) for v in (one.from_version, one.to_version)]
        rows.append([f"{one.at:%Y-%m-%d %H:%M:%S}", one.action, *versions, one.who, one.verdict])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    header, *heads = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    room = None if width is None else width - len(header) - 2
    if width is not None and room is not None and room < _ROOM:
        yield f"[dim]{header}[/dim]"
        for head, one in zip(heads, entries, strict=True):
            yield escape(head)
            yield from (f"    {escape(line)}" for line in textwrap.wrap(one.why, width - 4))
        return
    yield f"[dim]{header}  why[/dim]"
    for head, one in zip(heads, entries, strict=True):
        first, *rest = [one.why] if room is None else textwrap.wrap(one.why, room) or [""]
        yield f"{escape(head)}  {escape(first)}"
        yield from (f"{' ' * len(head)}  {escape(line)}" for line in rest)


def show_watched(found: Watched, *, as_json: bool) -> None:
    """What was served and whether it drifted, the worst columns first."""
    if as_json:
        print(found.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    colour = {"quiet": "yellow", "steady": "green", "drifted": "red"}[found.status]
    console.print(f"[bold]{found.model}[/bold] version {found.version}: [bold {colour}]{found.status}[/]")
    for reason in found.reasons:
        console.print(f"  • {escape(reason)}")
    seen = found.volume
    if seen.first is not None and seen.last is not None:
        console.print(
            f"  {seen.rows} rows from {seen.first:%Y-%m-%d %H:%M} to {seen.last:%H:%M} UTC, p50 {seen.p50_ms} ms, p95 {seen.p95_ms} ms"
        )
    drifted = [one for part in (found.predictions, found.inputs) if part is not None for one in part.drifted]
    if drifted:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in ("drifted", "PSI", "trained on, mean", "served, mean"):
            table.add_column(name, no_wrap=True, justify="left" if name == "drifted" else "right")
        for one in drifted[:_MOST_COLUMNS]:
            table.add_row(
                escape(one.name),
                f"{one.psi:.2f}",
                _number(one.reference, "{:.4g}"),
                _number(one.served, "{:.4g}"),
            )
        console.print(table)


def show_verification(found: Verification, *, as_json: bool) -> None:
    """What was checked, one line each."""
    if as_json:
        print(found.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{found.model}[/bold] version {found.version}: [bold green]verified[/]")
    console.print(f"  digest     sha256:{found.sha256}, as the evidence says")
    console.print("  signature  holds for every file of the version")
    dirty = ", with changes that were not committed" if found.dirty else ""
    console.print(
        f"  evidence   {found.decision}, {found.score_name} {found.score:.4f}, by code {found.revision or 'unknown'}{dirty}"
    )
    if found.replayed is not None:
        console.print(f"  replay     {found.score_name} {found.replayed:.4f}, the same")
