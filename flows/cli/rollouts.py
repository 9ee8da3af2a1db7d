"""A version on its way through a rollout: look at it, let it go on, hold it, end it."""

from typing import Annotated, Literal

import typer

from flows.cli.arguments import REFUSED, Json, Model, Who, after_help
from flows.cli.versions import announcing

commands = typer.Typer()


@commands.command(
    epilog=after_help(
        "slipway rollout digits",
        "slipway rollout digits step",
        'slipway rollout digits pause --reason "sale on Friday"',
        'slipway rollout digits finish --reason "100 requests a day decide nothing this year"',
        codes=REFUSED,
    )
)
def rollout(
    model: Model,
    act: Annotated[
        Literal["status", "step", "pause", "resume", "abort", "finish"],
        typer.Argument(
            metavar="status|step|pause|resume|abort|finish",
            help="status: where it stands. step: look once, and do what follows from the counts, as the flow does every minute. "
            "pause, resume: hold it. abort: the champion answers everybody. finish: the new version is the champion, on your word.",
        ),
    ] = "status",
    reason: Annotated[
        str, typer.Option(help="Why; kept in the ledger. Needed for all but status and step.")
    ] = "",
    who: Who = None,
    json: Json = False,
) -> None:
    """A new version beside the champion: what both answered, how sure that is, and what is still to go."""
    from flows.cli.views.rollouts import show_standing
    from flows.cli.views.versions import show_entry
    from tasks.promotion.rolling import advance, say
    from tasks.promotion.rollout_status import status
    from tasks.settings import load_settings

    settings = load_settings()
    if act == "status":
        show_standing(status(settings, model), json)
    elif act == "step":
        with announcing(settings, model):
            seen = advance(settings, model)
        show_standing(seen or status(settings, model), json)
    else:
        with announcing(settings, model):
            entry = say(settings, model, act, why=reason, who=who)
        show_entry(entry, json)
