"""Everything that was ever promoted, looked at again: audit."""

from typing import Annotated

import typer

from flows.cli.arguments import EXIT_CODES, Json, after_help
from flows.cli.suggestions import models

commands = typer.Typer()


@commands.command(
    epilog=after_help(
        "slipway audit",
        "slipway audit digits --replay",
        "slipway audit --json",
        codes={0: "all of it holds", 1: EXIT_CODES[1], 3: "something does not hold"},
    )
)
def audit(
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]…", help="Registered models; default: all.", autocompletion=models),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Score each version again on its rows, and make every decision of rollouts again.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Every version ever promoted: bytes, signatures by the keys of then, ledger, evidence, rows; and with --replay its score. Exit code 3 where something does not hold."""
    from rich.console import Console

    from flows.cli.views.audit import show_audit
    from flows.cli.views.waiting import moving_line
    from tasks.promotion.audit import audit as look_at_all
    from tasks.settings import load_settings

    line = moving_line(Console(stderr=True, highlight=False), quiet=json)
    task = line.add_task("audit", total=None, ends=None)

    def tell(version: str, done: int, total: int) -> None:
        line.update(task, description=f"{version} ({done + 1:,} of {total:,})")

    with line:
        audited = look_at_all(load_settings(), named or (), replay=replay, tell=tell)
    show_audit(audited, json)
    raise typer.Exit(0 if audited.holds else 3)
