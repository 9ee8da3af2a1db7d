"""What `slipway check` shows: a line for each part of a workload, and what would be served."""

import json
from shlex import quote

from rich.console import Console
from rich.markup import escape

from flows.cli.views.document import show_document
from tasks.preflight.check import Checkup

_MARKS = {
    "held": "[green]✓[/]",
    "doubtful": "[yellow]![/]",
    "failed": "[bold red]✗[/]",
    "skipped": "[dim]–[/]",
}

_STYLES = {"failed": "red", "skipped": "dim"}

_LONGEST = 150


def show_checkup(checkup: Checkup, *, as_json: bool) -> None:
    """One JSON object on stdout, or a checklist for people."""
    if as_json:
        show_document(json.dumps({"ok": checkup.ok, **checkup.model_dump(mode="json")}))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(checkup.workload)}[/bold]", soft_wrap=True)
    for part in checkup.findings:
        seconds = "" if part.status == "skipped" else f"{part.seconds:.1f} s"
        style = _STYLES.get(part.status, "default")
        console.print(
            f" {_MARKS[part.status]} {part.name:<8}{seconds:>7}  [{style}]{escape(part.said)}[/]",
            soft_wrap=True,
        )
    if checkup.outputs:
        _show_what_is_served(console, checkup)
    console.print(f"\n{_summary(checkup)}", soft_wrap=True)


def _show_what_is_served(console: Console, checkup: Checkup) -> None:
    console.print("\nWould be served as")
    for direction, specs in (("in", checkup.inputs), ("out", checkup.outputs)):
        for spec in specs:
            console.print(f"  {direction:<4} {escape(str(spec))}", soft_wrap=True)
    body = json.dumps(checkup.request)
    shown = body if len(body) <= _LONGEST else f"{body[:_LONGEST]} … ({len(body):,} bytes; --json shows all)"
    console.print(f"  ask  POST /invocations {escape(shown)}", soft_wrap=True)


def _summary(checkup: Checkup) -> str:
    counts = {status: sum(part.status == status for part in checkup.findings) for status in _MARKS}
    if counts["failed"]:
        waiting = f", {counts['skipped']} wait for that" if counts["skipped"] else ""
        return f"[bold red]{counts['failed']} of {len(checkup.findings)} parts failed[/]{waiting}."
    doubts = f", {counts['doubtful']} with a doubt" if counts["doubtful"] else ""
    return f"[bold green]All {len(checkup.findings)} parts hold[/]{doubts}. Next: slipway run {escape(quote(checkup.workload))}"
