"""What `slipway dossier` shows: where it is, what it has, what does not hold."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from flows.cli.views.document import show_document

if TYPE_CHECKING:
    from tasks.reporting.dossier import Dossier


def show_dossier(dossier: "Dossier", out: Path | None, as_json: bool) -> None:
    """The record as one JSON object, or in short for people."""
    if as_json:
        show_document(dossier.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    let_go = sum(chapter.standing == "let go" for chapter in dossier.history)
    console.print(
        f"[bold]{escape(dossier.model)}[/bold] version {dossier.version}: its dossier is {escape(str(out))}"
    )
    console.print(
        f"  versions   {len(dossier.history):,}{f', {let_go:,} let go' if let_go else ''}\n"
        f"  decisions  {len(dossier.decisions):,}\n"
        f"  incidents  {len(dossier.incidents):,}\n"
        f"  provider   {len(dossier.provider):,} headings written"
    )
    if dossier.let_go:
        console.print(f"  [yellow]{escape(dossier.let_go)}[/yellow]")
    for problem in dossier.problems:
        console.print(f"  [red]✗ {escape(problem)}[/red]")
