"""What `slipway check` shows: a line for each part of a workload, and what would be served."""

import json
from shlex import quote

from rich.console import Console
from rich.markup import escape

from tasks.preflight.check import Checkup

_MARKS = {
    "held": "[green]✓[/]",
    "doubtful": "[yellow]![/]",
    "failed": "[bold red]✗[/]",
    "skipped": "[dim]–[/]",
}

_STYLES = {"failed": "red", "skipped": "dim"}

_LONGEST = 150


def show_checkup(found: Checkup, *, as_json: bool) -> None:
    """One JSON object on stdout, or a checklist for people."""
    if as_json:
        print(json.dumps({"ok": found.ok, **found.model_dump(mode="json")}))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(found.workload)}[/bold]", soft_wrap=True)
    for one in found.findings:
        seconds = "" if one.status == "skipped" else f"{one.seconds:.1f} s"
        style = _STYLES.get(one.status, "default")
        console.print(
            f" {_MARKS[one.status]} {one.name:<8}{seconds:>7}  [{style}]{escape(one.said)}[/]", soft_wrap=True
        )
    if found.outputs:
        _show_what_is_served(console, found)
    console.print(f"\n{_summary(found)}", soft_wrap=True)


def _show_what_is_served(console: Console, found: Checkup) -> None:
    console.print("\nWould be served as")
    for direction, specs in (("in", found.inputs), ("out", found.outputs)):
        for spec in specs:
            console.print(f"  {direction:<4} {escape(str(spec))}", soft_wrap=True)
    body = json.dumps(found.request)
    shown = body if len(body) <= _LONGEST else f"{body[:_LONGEST]} … ({len(body):,} bytes; --json shows all)"
    console.print(f"  ask  POST /invocations {escape(shown)}", soft_wrap=True)


def _summary(found: Checkup) -> str:
    counts = {status: sum(one.status == status for one in found.findings) for status in _MARKS}
    if counts["failed"]:
        waiting = f", {counts['skipped']} wait for that" if counts["skipped"] else ""
        return f"[bold red]{counts['failed']} of {len(found.findings)} parts failed[/]{waiting}."
    doubts = f", {counts['doubtful']} with a doubt" if counts["doubtful"] else ""
    return f"[bold green]All {len(found.findings)} parts hold[/]{doubts}. Next: slipway run {escape(quote(found.workload))}"
