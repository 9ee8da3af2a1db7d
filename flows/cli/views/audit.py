"""What `slipway audit` shows: a line a version, and what does not hold."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.views import or_json
from tasks.promotion.audit import Audit, AuditedVersion

_MOST_STEPS = 3

_MARKS = {"holds": "[green]✓[/green]", "fails": "[red]✗[/red]", "let go": "–"}


@or_json
def show_audit(audit: Audit, console: Console) -> None:
    """By model, its versions in the order of their numbers."""
    for model in audit.models:
        console.print(f"[bold]{escape(model.model)}[/bold]: {model.entries:,} decided")
        table = Table(box=None, pad_edge=False, show_header=False)
        for version in model.versions:
            table.add_row(
                f"  {_MARKS[version.standing]}",
                f"v{version.version}",
                f"{version.promoted:%Y-%m-%d}",
                _score(version),
                _said(version),
            )
        if model.versions:
            console.print(table)
        for problem in model.problems:
            console.print(f"  [red]✗[/red] {escape(problem)}")
        for note in model.notes:
            console.print(f"  – {escape(note)}")
    for problem in audit.problems:
        console.print(f"[red]✗[/red] {escape(problem)}")
    console.print(f"\n{escape(audit.headline)}")
    if steps := list(dict.fromkeys(_next(audit))):
        console.print("\nTry next:\n" + "\n".join(f"  {escape(step)}" for step in steps[:_MOST_STEPS]))


def _next(audit: Audit) -> Iterator[str]:
    """Where a fault is looked into; where there is none, what looks closer."""
    if audit.problems:
        yield "slipway keys"
    for model in audit.models:
        if model.problems:
            yield f"slipway history {model.model}"
        yield from (f"slipway verify {model.model}/{v.version}" for v in model.versions if v.problems)
    if audit.holds and not audit.replayed:
        yield "slipway audit --replay"


def _score(version: AuditedVersion) -> str:
    if version.score is None:
        return ""
    again = "" if version.replayed is None else ", again"
    return f"{escape(version.score_name)} {version.score:.4f}{again}"


def _said(version: AuditedVersion) -> str:
    return escape("; ".join((*version.problems, *version.notes)))
