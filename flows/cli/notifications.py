"""Who is told: notify."""

import json as lines
import sys
from typing import Annotated, Literal

import typer

from flows.cli.arguments import Json, after_help

commands = typer.Typer()


@commands.command(
    epilog=after_help(
        "slipway notify slack https://hooks.slack.com/services/…",
        "slipway notify mail - < address.txt",
        "slipway notify teams --remove",
        "slipway notify",
    )
)
def notify(
    channel: Annotated[
        Literal["slack", "teams", "mail"] | None,
        typer.Argument(metavar="slack|teams|mail", help="Where; without it, what is set up is listed."),
    ] = None,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="A secret, which Prefect keeps encrypted; - reads it from stdin, so that no history has it.",
        ),
    ] = "-",
    remove: Annotated[bool, typer.Option("--remove", help="Tell nobody there any more.")] = False,
    json: Json = False,
) -> None:
    """Tell a chat or a mailbox when a champion changes, traffic drifts, a run fails or somebody is asked; a test message first."""
    from flows.cli.views.document import show_document
    from flows.orchestration import automations, notifications
    from flows.orchestration.own_deployments import prefect_server

    with prefect_server() as client:
        if channel is not None and remove:
            notifications.remove(client, channel)
            said = f"{channel} is told no longer."
        elif channel is not None:
            notifications.set_up(channel, sys.stdin.read().strip() if address == "-" else address)
            said = f"A test message went to {channel}, which is told from now on."
        if channel is not None:
            automations.apply()
        told = [name for name, _ in notifications.saved(client)]
        if channel is None:
            said = (
                f"Told: {', '.join(told)}." if told else "Nobody is told yet: `slipway notify slack ADDRESS`."
            )
    if json:
        show_document(lines.dumps({"told": told}))
    else:
        print(said)
