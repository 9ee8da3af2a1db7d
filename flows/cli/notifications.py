"""Who is told: notify."""

import sys
from typing import Annotated, Literal

import typer

from flows.cli.arguments import after_help

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
) -> None:
    """Tell a chat or a mailbox when a champion changes, traffic drifts, a run fails or somebody is asked; a test message first."""
    from flows.orchestration import automations, notifications
    from flows.orchestration.own_deployments import prefect_server

    with prefect_server() as client:
        if channel is None:
            told = [name for name, _ in notifications.saved(client)]
            print(
                f"Told: {', '.join(told)}." if told else "Nobody is told yet: `slipway notify slack ADDRESS`."
            )
            return
        if remove:
            notifications.remove(client, channel)
        else:
            notifications.set_up(channel, sys.stdin.read().strip() if address == "-" else address)
        automations.apply()
    print(
        f"{channel} is told no longer."
        if remove
        else f"A test message went to {channel}, which is told from now on."
    )
