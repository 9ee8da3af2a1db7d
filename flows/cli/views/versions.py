"""What the commands about registered versions show: a decision, a ledger, served traffic, a verification."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views import or_json
from tasks.monitoring.watched import Performance, Watched
from tasks.promotion.entries import Action, LedgerEntry, name_of
from tasks.reporting.candidates import number

if TYPE_CHECKING:
    from tasks.attestation.folder import Attested
    from tasks.promotion.copying import Copied
    from tasks.promotion.history import History
    from tasks.promotion.verification import Verification

_MOST_COLUMNS = 15

_BESIDE: dict[Action, str] = {
    "start": "begins to answer beside it",
    "step": "goes a step further",
    "pause": "pauses",
    "resume": "goes on beside it",
    "abort": "goes back",
}

_ROOM = 60
"""Fewer columns than these make a reason a tower of words: it goes on lines of its own."""


@or_json
def show_entry(entry: LedgerEntry, console: Console) -> None:
    """Say what was decided, and how to look at it."""
    before = f"version {entry.from_version}" if entry.from_version is not None else "nothing"
    if entry.moved:
        what = f"version {entry.to_version} is the champion, after {before}"
    else:
        what = f"{before} serves as before, and version {entry.to_version} {_BESIDE.get(entry.action, 'is refused')}"
    console.print(f"[bold]{entry.model}[/bold]: {what}")
    console.print(f"  {entry.action} by {escape(entry.person)}: {escape(entry.why)}")
    command = "rollout" if entry.action in ("start", "pause", "resume") else "history"
    console.print(f"\nTry next:\n  slipway {command} {entry.model}")


@or_json
def show_copied(copied: "Copied", console: Console) -> None:
    """What serves there now, where it came from, and what was compared on the way."""
    name = f"[bold]{copied.model}[/bold]: version {copied.version} at {escape(copied.registry)}"
    if copied.entry is None:
        console.print(f"{name} is already there, to the byte, and serves; nothing was changed")
    else:
        how = "is the champion, after" if copied.outcome == "promoted" else "begins to answer beside"
        console.print(f"{name} {how} {name_of(copied.entry.from_version)}")
        console.print(f"  {copied.entry.action} by {escape(copied.entry.person)}: {escape(copied.entry.why)}")
    console.print(f"  copied from {escape(str(copied.origin))}")
    for reason in copied.reasons:
        console.print(f"  • {escape(reason)}")
    if copied.trial is not None:
        console.print(f"  • in the real server {copied.trial.requests} requests were answered alike")
    there = f"MLFLOW_TRACKING_URI={copied.registry}"
    console.print(f"\nTry next:\n  {escape(there)} slipway verify {copied.model}")


@or_json
def show_history(history: "History", console: Console) -> None:
    """The ledger as a table, newest last, and what is wrong with it."""
    if history.at:
        served = ", ".join(f"version {e.to_version}" for e in history.entries) or "nothing"
        console.print(f"[bold]{history.model}[/bold] on {history.at}: {served} served")
    else:
        aliases = {
            "champion": history.champion,
            "challenger": history.challenger,
            "previous": history.previous,
        }
        standing = ", ".join(f"{name} is version {v}" for name, v in aliases.items() if v is not None)
        console.print(f"[bold]{history.model}[/bold]: {standing or 'no version serves'}")
    for line in ledger_lines(history.entries, console.width if console.is_terminal else None):
        console.print(line)
    for note in history.notes:
        console.print(f"[yellow]· {escape(note)}[/yellow]")
    for problem in history.problems:
        console.print(f"[red]! {escape(problem)}[/red]")


def ledger_lines(entries: tuple[LedgerEntry, ...], width: int | None) -> Iterator[str]:
    """A line an entry, its reason behind it or, where `width` columns are too few, below; None: in full, for a pipe."""
    rows = [["when (UTC)", "what", "from", "to", "who", "verdict"], *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    header, *heads = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    below = width is not None and width - len(header) - 2 < _ROOM
    yield f"[dim]{header}{'' if below else '  why'}[/dim]"
    for head, entry in zip(heads, entries, strict=True):
        first, indent = ("    ", 4) if below else (f"{head}  ", len(head) + 2)
        why = entry.why if entry.origin is None else f"{entry.why} [from {entry.origin}]"
        why = why if entry.rollout is None else f"{why} [{entry.rollout}]"
        lines = [first + why]
        if width is not None:
            lines = textwrap.wrap(why, width, initial_indent=first, subsequent_indent=" " * indent)
        yield from map(escape, [head, *lines] if below else lines or [head])


def _row(entry: LedgerEntry) -> list[str]:
    versions = ["–" if number is None else str(number) for number in (entry.from_version, entry.to_version)]
    return [f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.action, *versions, entry.person, entry.verdict]


@or_json
def show_watched(watched: Watched, console: Console) -> None:
    """What was served and whether it drifted, the worst columns first."""
    colour = (
        "red" if watched.alarming else {"quiet": "yellow", "shifted": "yellow"}.get(watched.status, "green")
    )
    console.print(
        f"[bold]{watched.model}[/bold] version {watched.version}: [bold {colour}]{watched.status}[/]"
    )
    for reason in watched.reasons:
        console.print(f"  • {escape(reason)}")
    volume = watched.volume
    if volume.first is not None and volume.last is not None:
        console.print(
            f"  {volume.rows} rows from {volume.first:%Y-%m-%d %H:%M} to {volume.last:%H:%M} UTC, p50 {volume.p50_ms} ms, p95 {volume.p95_ms} ms"
        )
    console.print(_by_labels(watched.performance), end="")
    drifted = [column for part in (watched.predictions, watched.inputs) if part for column in part.drifted]
    if drifted:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name in ("drifted", "PSI", "trained on, mean", "served, mean"):
            table.add_column(name, no_wrap=True, justify="left" if name == "drifted" else "right")
        for column in drifted[:_MOST_COLUMNS]:
            table.add_row(
                escape(column.name),
                f"{column.psi:.2f}",
                number(column.reference, "{:.4g}"),
                number(column.served, "{:.4g}"),
            )
        console.print(table)


def _by_labels(performance: Performance | None) -> str:
    if performance is None or performance.score is None:
        return ""
    return (
        f"  {performance.labelled} of {performance.rows} rows have a label ({performance.coverage:.1%}): {performance.score:.4f} "
        f"({performance.low:.4f} to {performance.high:.4f}), {performance.proof:.4f} was proved\n"
    )


@or_json
def show_attested(attested: "Attested", console: Console) -> None:
    """What was written, what it lacks, and what has to reach whoever checks it by another way."""
    console.print(
        f"[bold]{attested.model}[/bold] version {attested.version}: attested in {escape(str(attested.folder))}"
    )
    console.print(f"  statements {', '.join(attested.statements)}")
    if not attested.permitted:
        console.print("  permit     none: nobody has let it serve yet")
    for what in attested.missing:
        console.print(f"  [yellow]lacking    {escape(what)}: it was made without[/yellow]")
    console.print(f"  key        {attested.key_sha256}")
    console.print(
        "\nREADME.md in it says how it is checked, without Slipway. Tell whoever gets it the key's SHA-256 by another way."
    )


@or_json
def show_verification(verification: "Verification", console: Console) -> None:
    """What was checked, one line each."""
    console.print(
        f"[bold]{verification.model}[/bold] version {verification.version}: [bold green]verified[/]"
    )
    console.print(f"  digest     sha256:{verification.sha256}, as the evidence says")
    console.print("  signature  holds for every file of the version")
    dirty = ", with changes that were not committed" if verification.dirty else ""
    console.print(
        f"  evidence   {verification.decision}, {verification.score_name} {verification.score:.4f}, by code {verification.revision or 'unknown'}{dirty}"
    )
    stated = ", ".join(verification.statements) or "none: it was made before there were any"
    console.print(f"  statements {stated}")
    if verification.origin is not None:
        console.print(f"  workload   {verification.origin}", markup=False)
    if verification.replayed is not None:
        console.print(f"  replay     {verification.score_name} {verification.replayed:.4f}, the same")
    if verification.rollouts is not None and verification.rollouts.entries:
        rollouts = verification.rollouts
        console.print(
            f"  rollouts   {rollouts.entries} decisions follow from their counts, {rollouts.recounted} of them counted again"
        )
        for note in rollouts.notes:
            console.print(f"             {escape(note)}")
