"""`slipway completion SHELL`: what a shell runs to complete our words with Tab.

Typer's own, which knows every command, option and choice as they are; `shtab` and `argcomplete` are for argparse.
"""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from flows.cli.arguments import after_help

VARIABLE = "_SLIPWAY_COMPLETE"
"""By which a shell asks; Typer's name for it."""

commands = typer.Typer()


class Shell(StrEnum):
    """Those that are known."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


@commands.command(
    epilog=after_help(
        "slipway completion bash >> ~/.bashrc",
        "slipway completion zsh >> ~/.zshrc",
        "slipway completion fish > ~/.config/fish/completions/slipway.fish",
    )
)
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Whose script to print.")],
) -> None:
    """Print the script by which a shell completes commands, options, models and workloads with Tab."""
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="slipway", complete_var=VARIABLE, shell=shell.value)
    if shell is Shell.zsh:  # which has no compdef before that
        script = script.replace(
            "#compdef slipway\n", "#compdef slipway\nautoload -Uz compinit && compinit\n", 1
        )
    print(script)


def answer_shells() -> None:
    """Let the command answer a shell that asks; Typer itself does so only with an option that writes into ~/.bashrc."""
    from typer._completion_classes import completion_init

    completion_init()


class Suggestion(NamedTuple):
    """A word, as Typer takes it."""

    value: str
    help: str
    type: str = "plain"


class Serve(TyperCommand):
    """The command whose options are those of the server's own parser."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from flows.cli.suggestions import models
        from infra.serving.__main__ import parser

        if not incomplete.startswith("-"):
            return [Suggestion(name, "") for name in models(incomplete)]
        return [
            Suggestion(flag, action.help or "")
            for action in parser("slipway serve")._actions
            for flag in action.option_strings
            if flag.startswith("--") and flag.startswith(incomplete)
        ]
