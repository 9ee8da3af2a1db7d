"""The keys that all is signed with: keys, keys rotate, keys revoke."""

from typing import Annotated

import typer

from flows.cli.arguments import REFUSED, Json, Reason, Who, after_help

commands = typer.Typer()

keys = typer.Typer(
    invoke_without_command=True,
    epilog=after_help("slipway keys", "slipway keys --json", 'slipway keys rotate --reason "a year old"'),
)

commands.add_typer(keys, name="keys")


@keys.callback()
def trusted(context: typer.Context, json: Json = False) -> None:
    """Which keys are trusted, from when to when, which one signs here, and how far a training is from it."""
    if context.invoked_subcommand is not None:
        return
    from flows.cli.views.keys import show_keys
    from tasks.promotion.keys import trusted_keys
    from tasks.settings import load_settings

    show_keys(trusted_keys(load_settings()), json)


@keys.command(
    epilog=after_help(
        'slipway keys rotate --reason "a year old"',
        'slipway keys rotate --to /run/keys/2027.pem --reason "a year old"',
        codes=REFUSED,
    )
)
def rotate(
    reason: Reason,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The private key to hand over to: a PEM file, or pkcs11:…; default: a new one under SLIPWAY_HOME.",
        ),
    ] = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Hand over to a new key, signed by both: what the old one has signed goes on counting, and servers learn of the new one by themselves."""
    from flows.cli.views.keys import show_change
    from tasks.promotion.keys import rotate as hand_over
    from tasks.settings import load_settings

    show_change(hand_over(load_settings(), why=reason, who=who, to=to), json)


@keys.command(
    epilog=after_help(
        'slipway keys revoke 9f86d081884c --from 2026-11-20 --reason "the laptop was stolen"', codes=REFUSED
    )
)
def revoke(
    fingerprint: Annotated[
        str,
        typer.Argument(
            metavar="FINGERPRINT", help="Of a key that was handed over; its first 8 digits will do."
        ),
    ],
    reason: Reason,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DATE",
            help="Since when others may have had it: a day (2026-05-03) or a moment (2026-05-03T14:00).",
        ),
    ] = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Let nothing count that a former key signed from a date on; what the ledgers had by then goes on counting."""
    from flows.cli.views.keys import show_change
    from tasks.promotion.keys import revoke as declare
    from tasks.settings import load_settings

    show_change(declare(load_settings(), fingerprint, since=since, why=reason, who=who), json)
