"""What a person sees in the terminal when a command is done. stdout is kept for results."""

import textwrap
from collections.abc import Iterator
from shlex import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.cost import describe, total
from tasks.history import History
from tasks.ledger import LedgerEntry
from tasks.monitor import Watched
from tasks.outcome import CandidateResult, Outcome
from tasks.recheck import Verification

_MOST_COLUMNS = 15
_ROOM = 60
"""Fewer columns than these make a reason a tower of words: it goes on lines of its own."""
_COLOURS = {
    "promoted": "green",
    "registered": "yellow",
    "unchanged": "cyan",
    "refused": "red",
    "failed": "red",
}


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Print the outcome on stdout: one JSON object, or a summary for people."""
    if as_json:
        print(outcome.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    colour = _COLOURS[outcome.decision]
    version = f" version {outcome.version}" if outcome.version is not None else ""
    console.print(
        f"\n[bold]{outcome.model}[/bold]{version}: [bold {colour}]{outcome.decision}[/] in {outcome.seconds:.1f} s"
    )
    for reason in outcome.reasons:
        console.print(f"  • {escape(reason)}")
    for name, value in _facts(outcome).items():
        console.print(f"  {name:<8} {escape(value)}")
    if outcome.candidates:
        console.print("\nCandidates, on the validation split; ratios against fp32:")
        console.print(_candidates(outcome.candidates))
        for one in outcome.candidates:
            if one.reasons:
                console.print(f"  [dim]{one.name}: {escape('; '.join(one.reasons))}[/dim]")
    console.print("\nTry next:")
    for line in _next(outcome):
        console.print(f"  {escape(line)}")


def _facts(outcome: Outcome) -> dict[str, str]:
    facts = {
        "picked": outcome.picked,
        "score": None if outcome.score is None else f"{outcome.score:.4f} on the test split",
        "digest": f"sha256:{outcome.digest}" if outcome.digest else None,
        "cost": None if (cost := total(outcome.steps)) is None else describe(cost),
        "run": outcome.run_id,
        "report": outcome.report,
    }
    return {name: value for name, value in facts.items() if value}


def _candidates(candidates: tuple[CandidateResult, ...]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("candidate", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "size", "latency", "throughput"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in candidates:
        table.add_row(
            one.name,
            one.status,
            _number(one.score, "{:.4f}"),
            _number(None if one.size_bytes is None else one.size_bytes / 1e3, "{:,.0f} kB"),
            _number(one.latency_ratio, "{:.2f}×"),
            _number(one.throughput_ratio, "{:.2f}×"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _next(outcome: Outcome) -> list[str]:
    model = outcome.model
    if outcome.decision in ("promoted", "unchanged"):
        return [
            f"slipway serve {model}@champion        the model server, on http://127.0.0.1:8080",
            f"slipway verify {model}@champion       check digest, signature and evidence again",
            f"slipway history {model}               who promoted what, when and why",
        ]
    if outcome.decision == "registered":
        return [f'slipway promote {model} {outcome.version} --reason "…"    make it the champion']
    return [
        f"slipway history {model}               what serves now, and why",
        f"slipway settings {quote(outcome.workload)}              what to change with --set",
    ]


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
