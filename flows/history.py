"""The history of a model in the terminal: who promoted what, when and why, and whether the record holds."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.history import History
from tasks.ledger import LedgerEntry
from tasks.recheck import Verification

_COLOURS = {"promote": "green", "rollback": "yellow", "refuse": "red", "repair": "magenta"}


def show_history(history: History, *, as_json: bool) -> None:
    """Print it on stdout: one JSON object, or a table."""
    if as_json:
        print(history.model_dump_json())
        return
    console = Console(highlight=False)
    console.print(_standing(history))
    if history.entries:
        console.print(_table(history.entries))
    elif history.at is not None:
        console.print(f"  Nothing served on {history.at}.")
    for problem in history.problems:
        console.print(Text(f"  ! {problem}", style="bold red"))
    if not history.problems:
        console.print(
            f"  [dim]{'Every entry follows from the one before it.' if history.at is None else 'The whole ledger was checked.'}[/dim]"
        )


def show_entry(entry: LedgerEntry, *, as_json: bool) -> None:
    """Print a decision that was just made."""
    if as_json:
        print(entry.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        Text.assemble(
            (entry.model, "bold"),
            ": ",
            (entry.action, _COLOURS[entry.action]),
            f" {_move(entry)} by {entry.who}: {entry.why}",
        )
    )
    console.print(f"  ledger entry {entry.sequence}, {entry.digest[:16]}…")


def show_verification(found: Verification, *, as_json: bool) -> None:
    """Print what `verify` found to hold."""
    if as_json:
        print(found.model_dump_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        Text.assemble((f"{found.model} version {found.version}", "bold"), ": ", ("verified", "bold green"))
    )
    console.print(f"  model.onnx  sha256:{found.sha256}")
    console.print(f"  evidence    sha256:{found.evidence}, signature holds")
    console.print(f"  verdict     {found.decision}, {found.score_name} {found.score:.4f} on the test rows")
    if found.replayed is not None:
        console.print(f"  replayed    {found.score_name} {found.replayed:.4f}, the same")
    console.print(
        f"  code        {found.revision or 'unknown'}{', with uncommitted changes' if found.dirty else ''}"
    )
    console.print(f"  run         {found.run_id}")


def _standing(history: History) -> Text:
    champion = "no champion" if history.champion is None else f"champion v{history.champion}"
    others = [
        f"{name} v{version}"
        for name, version in (("previous", history.previous), ("challenger", history.challenger))
        if version
    ]
    unproved = (" UNPROVED", "bold red") if history.proved is False else ("", "")
    return Text.assemble(
        (history.model, "bold"), f": {champion}", unproved, f", {', '.join(others)}" if others else ""
    )


def _table(entries: tuple[LedgerEntry, ...]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("#", "when (UTC)", "what", "from → to", "verdict", "who", "why"):
        table.add_column(
            name,
            justify="right" if name == "#" else "left",
            overflow="fold",
            no_wrap=name in ("#", "when (UTC)", "what"),
        )
    for entry in entries:
        table.add_row(
            str(entry.sequence),
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            Text(entry.action, style=_COLOURS[entry.action]),
            _move(entry),
            entry.verdict,
            Text(entry.who),
            Text(entry.why),
        )
    return table


def _move(entry: LedgerEntry) -> str:
    return f"{_v(entry.from_version)} → {_v(entry.to_version)}"


def _v(version: int | None) -> str:
    return "none" if version is None else f"v{version}"
